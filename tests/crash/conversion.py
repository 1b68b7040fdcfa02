"""Rollouts of a model that is first made an ONNX file, on a machine of its own; and what must hold of such a file.

The machine's two steps are the agent's own programs: a real model is converted, and both are asked.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node import child, convert_compare
from tests.crash.deployment import GREEN, PRESETS, RUN, Deployment, deployed, strays
from tests.crash.scenario import WORKLOAD
from tests.crash.storage import BlobStorage
from tests.support import conversions, deployments

if TYPE_CHECKING:
    from tests.crash.machine import Machine

MODEL = f"{WORKLOAD}-model"
_SAMPLE = "flights/rows.parquet"
_TTL = timedelta(hours=1)
# Also those of the machine that converts: no room for it, no boot, gone in the middle of it, a script that ends badly.
_PRESETS = (
    *PRESETS, "allocation-failed", "allocation-failed-later", "sku-not-available", "vm-vanishes", "spot-evicted",
    "boot-never-ready", "script-fails", "script-hangs", "run-command-stuck", "lost-response", "conflict",
    "operation-preempted", "delete-throttled", "nic-left-behind", "network-locked", "os-provisioning-timed-out",
)  # fmt: skip


@dataclass(frozen=True)
class Converted(Deployment):
    """`alike`: whether the second version's conversion answers as the version itself does."""

    alike: bool = True
    presets: tuple[str, ...] = field(default=_PRESETS)

    def declaration(self) -> dict[str, Any]:
        declared = conversions.conversion(
            compute={"sizes": ["Standard_D2s_v5"], "regions": ["westeurope", "northeurope"]},
            limits={"deadline": "PT40M", "ttl": "PT1H"},
        )
        return {**super().declaration(), "conversion": declared}

    def land(self, put: Callable[[str, str, bytes], None]) -> None:
        put("landing", _SAMPLE, _rows(self.alike))

    def register(self, here: Any, version: str) -> None:
        if version == "2":
            deployments.put_model(here, MODEL, version, _fitted(self.alike))
        else:
            super().register(here, version)

    def unkept(self, machine: Machine, *, strict: bool) -> Iterator[str]:
        """C1 to C3: of the machine that converts, of the converted file, and of what may be deployed."""
        yield from super().unkept(machine, strict=strict)
        made = [e for e in machine.cloud.world.events.since(type_="vm") if e["power"] == "creating"]
        yield from (f"C1 {fault}" for fault in strays(made, _TTL))
        yield from _true_to_its_record(machine.cloud.storage)
        yield from _nothing_unlike(machine)


def _true_to_its_record(storage: BlobStorage) -> Iterator[str]:
    """C2: one version at most for a file, and file, card, lineage and record say the same of it."""
    seen: dict[str, str] = {}
    for version in sorted({name.split("/")[1] for name in storage.names("models", f"{MODEL}/")}):
        if "-onnx-" not in version:
            continue
        data = storage.read("models", f"{MODEL}/{version}/model.onnx") or b""
        digest = hashlib.sha256(data).hexdigest()
        if (other := seen.setdefault(digest, version)) != version:
            yield f"C2 {version} and {other} are one file"
        lineage = storage.document("models", f"{MODEL}/{version}/LINEAGE.json")
        card = storage.document("models", f"{MODEL}/{version}/MODEL.json")
        record = storage.document("muster", lineage.get("record", "")).get("found", {})
        told = {
            "lineage": lineage.get("sha256"),
            "card": card.get("sha256", digest),  # the last to be written: without it there is no version yet
            "record": record.get("file", {}).get("sha256"),
            "name": {version.rpartition("-")[2]: digest}.get(digest[:12]),
        }
        yield from (
            f"C2 {version} is {digest}, its {what} says {said}"
            for what, said in told.items()
            if said != digest
        )
    for name in storage.names("muster", f"runs/{RUN}/conversion/"):
        data = storage.read("muster", name) or b""
        if name.rpartition("/")[2] != f"{hashlib.sha256(data).hexdigest()[:16]}.onnx":
            yield f"C2 {name} is another file"


def _nothing_unlike(machine: Machine) -> Iterator[str]:
    """C3: green is made of the file that passed, after that is on record; what did not pass is no version at all."""
    storage, scenario = machine.cloud.storage, machine.scenario
    assert isinstance(scenario, Converted)
    report = storage.document("muster", f"deployments/{RUN}/conversion.json")
    made = [event for event in deployed(machine) if event["resource_id"].endswith(f"/{GREEN}")]
    if made and not report.get("converted"):
        yield f"C3 {GREEN} was made, and the conversion came to {report.get('reason', 'nothing')}"
        return
    for event in made:
        if event["tags"]["muster-model-sha256"] != report["sha256"]:
            yield f"C3 {GREEN} serves {event['tags']['muster-model-sha256']}, passed has {report['sha256']}"
    if report.get("converted") and not (scenario.alike and report["verdict"]["ok"]):
        yield f"C3 what answers otherwise has passed: {report['verdict']}"
    if not report.get("converted") and scenario.alike is False:
        found = [name for name in storage.names("models", f"{MODEL}/") if "-onnx-" in name]
        yield from (f"C3 {name} did not pass, and is there" for name in found)


_left: dict[tuple[str, str], tuple[child.Ended, Mapping[str, bytes]]] = {}


def convert_step(command: Sequence[str], *, environment: Mapping[str, str], **_: Any) -> child.Ended:
    """A step of a conversion, not sealed: the model is no stranger's.

    Done once for what it is given: after that it leaves what it left then.
    """
    case, out = Path(command[3]), Path(command[4])
    key = command[2], _digest(case.parent)
    if key not in _left:
        ended = _carry_out(command, environment)
        _left[key] = ended, {each.name: each.read_bytes() for each in out.iterdir() if each.is_file()}
    ended, files = _left[key]
    for name, data in files.items():
        (out / name).write_bytes(data)
    return ended


def _carry_out(command: Sequence[str], environment: Mapping[str, str]) -> child.Ended:
    """What compares does so in this process. What converts has one of its own: a graph's bytes depend on the order of
    sets, and with it on the seed that only `environment` fixes."""
    if command[2] == "node.convert_compare":
        return child.Ended(convert_compare.main(*map(Path, command[3:])), b"", sealed=True, seconds=1.0)
    ran = subprocess.run(
        command, env=environment, cwd=child.PACKAGE, capture_output=True, check=False, timeout=120
    )
    return child.Ended(ran.returncode, ran.stderr, sealed=True, seconds=1.0)


def _digest(work: Path) -> str:
    """Of everything in the folder, wherever it lies."""
    digest = hashlib.sha256()
    for path in sorted(each for each in work.rglob("*") if each.is_file()):
        data = path.read_bytes().replace(str(work).encode(), b"")
        digest.update(f"{path.relative_to(work)} {len(data)} ".encode() + data)
    return digest.hexdigest()


def _frame(alike: bool) -> Any:
    """Rows that a tree can tell apart; or those whose distances are one number as soon as they are floats."""
    import numpy
    import pandas

    numbers = numpy.arange(200)
    distance = 3.0 * numbers if alike else 16_777_216.0 + numbers % 64
    return pandas.DataFrame({"distance": distance, "hour": numbers // 8 % 24})


@cache
def _fitted(alike: bool) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    frame = _frame(alike)
    wanted = frame["hour"] > 11 if alike else frame["distance"] % 2
    return make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)).fit(frame, wanted)


@cache
def _rows(alike: bool) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(_frame(alike), preserve_index=False), buffer)
    return buffer.getvalue()
