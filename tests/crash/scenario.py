"""What happens in a run of the machine apart from crashes: the declaration, its inputs, Azure's faults, a user's acts."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from shared.domain import names

if TYPE_CHECKING:
    from tests.crash.machine import Machine
    from tests.crash.storage import BlobStorage

WORKLOAD = "nightly"
SLOT = "20260301T020000Z"
RUN = names.score_run_id(WORKLOAD, SLOT)
MODEL = "plain"
OUTPUT = f"nightly/{SLOT}/"
LATE = timedelta(minutes=5)  # beyond a deadline: the reaper's grace, its next pass, and Azure's own time
_YESTERDAY = "2026-02-28T12:00:00+00:00"

Act = Callable[["Machine"], None]


@dataclass(frozen=True)
class Scenario:
    """`acts`: (glob of a point's label, what a user or Azure does the first time such a point is reached)."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    files: int = 3
    bad_files: int = 0
    faults: tuple[Mapping[str, Any], ...] = ()
    acts: tuple[tuple[str, Act], ...] = ()
    state: str = "Completed"  # how the run ends without crashes; "" if it is terminated
    quotas: Mapping[str, int] = field(default_factory=dict)  # region -> cores of the D family
    run: str = RUN
    horizon: timedelta = timedelta(hours=4)
    stall_s: float = 1800.0  # how long a worker that is out of sight stays so
    presets: tuple[str, ...] = ()  # of Azure's faults in random nights; none: those of machines and clusters

    def declaration(self) -> dict[str, Any]:
        base: dict[str, Any] = {
            "kind": "BatchScoring",
            "name": WORKLOAD,
            "schedule": {"cron": "0 2 * * *"},
            "input": {
                "container": "landing",
                "prefix": "in/",
                "pattern": "*.parquet",
                "settle": "PT0S",
            },
            "model": {"name": MODEL, "version": "champion"},
            "compute": {
                "platform": "dsvm",
                "sizes": ["Standard_D2s_v5"],
                "regions": ["westeurope", "northeurope"],
            },
            "fanout": {"maxShards": 2, "attempts": 2},
            "limits": {"deadline": "PT40M", "ttl": "PT1H"},
            "output": {"container": "scores", "path": "nightly/{slot}/"},
        }
        for section, values in self.changes.items():
            base[section] = {**base.get(section, {}), **values} if isinstance(values, Mapping) else values
        return base

    def land(self, put: Callable[[str, str, bytes], None]) -> None:
        """Model, inputs and the schedule of an app that was deployed the day before: the same bytes each time."""
        deploy_yesterday(put)
        for name, data in _model().items():
            put("models", name, data)
        for number in range(self.files):
            put("landing", f"in/{number:03d}.parquet", _file(number))
        for number in range(self.bad_files):
            put("landing", f"in/bad-{number:03d}.parquet", b"PAR1 this is no parquet")

    def furnish(self, machine: Machine) -> None:
        """What the app did before, without a fault, up to the moment at which the machine sets off."""

    def unrest(self, machine: Machine) -> str:
        """What is still to be done when the run is over; "" if nothing."""
        return ""

    def published(self, storage: BlobStorage) -> dict[str, bytes]:
        """What the run is for: the blobs that others read."""
        return {name: storage.read("scores", name) or b"" for name in storage.names("scores")}

    def unkept(self, machine: Machine, *, strict: bool) -> Iterator[str]:
        """What this kind of run promised and did not keep. `strict`: nothing but the app's process was crashed.

        I4, I5: either all of it is published, each input once, or nothing is.
        """
        storage, found = machine.cloud.storage, self.published(machine.cloud.storage)
        if f"{OUTPUT}_SUCCESS" not in found:
            if state_of(machine) == "TERMINATED":  # which runs no clean-up; readers go by _SUCCESS
                return
            yield from (f"I4 {name} is there without _SUCCESS" for name in found)
            return
        manifest = json.loads(found[f"{OUTPUT}_MANIFEST.json"])
        success = json.loads(found[f"{OUTPUT}_SUCCESS"])
        if success["manifest"] != hashlib.sha256(found[f"{OUTPUT}_MANIFEST.json"]).hexdigest():
            yield "I5 _SUCCESS names another manifest"
        parts = {part["blob"]: part["sha256"] for part in manifest["parts"]}
        if set(parts) != {name for name in found if "/part-" in name}:
            yield f"I4 declared {sorted(parts)}, found {sorted(found)}"
        for name, digest in parts.items():
            if hashlib.sha256(found.get(name, b"")).hexdigest() != digest:
                yield f"I4 {name} is not what the manifest says"
        items = sorted(item["blob"] for item in manifest["items"])
        if items != storage.names("landing"):
            yield f"I4 landed {storage.names('landing')}, accounted for {items}"
        watermark = storage.document("muster", "watermarks/nightly.json")
        if watermark.get("run") != machine.scenario.run or watermark.get("claim"):
            yield f"I5 published, and the watermark says {watermark}"


def cancel(machine: Machine) -> None:
    """What a user does who is no longer interested."""
    machine.user("cancel_run", id=machine.scenario.run)


def outcome_of(machine: Machine) -> dict[str, Any]:
    """The run's own record of how it ended; empty where it came to none."""
    return machine.cloud.storage.document("muster", f"runs/{machine.scenario.run}/outcome.json")


def state_of(machine: Machine) -> str:
    """How the run ended by its own record; without one, how its instance did."""
    outcome = outcome_of(machine)
    root = machine.hub.get_instance(machine.scenario.run)
    return str(outcome["state"]) if outcome else (root.status.name if root else "absent")


def deploy_yesterday(put: Callable[[str, str, bytes], None]) -> None:
    """The schedule's record of an app that was deployed the day before."""
    seen: dict[str, Any] = {
        "first_seen": _YESTERDAY,
        "considered": _YESTERDAY,
        "last_run": None,
        "skipped": [],
    }
    put("muster", f"schedules/{WORKLOAD}.json", json.dumps(seen).encode())


def vm(epoch: int = 1, batch: int = 0) -> str:
    """A glob of everything that bears the name of one of the run's machines."""
    return f"*{names.vm_name(names.lease_id(RUN, 'score', batch), epoch)}*"


def cluster(epoch: int) -> str:
    """A glob of the run's cluster in one epoch, and of its nodes."""
    return f"*{names.cluster_name(names.lease_id(RUN, 'score', 0), epoch)}*"


@cache
def _model() -> dict[str, bytes]:
    from tests.support.estate import register_plain_model

    stored: dict[str, bytes] = {}

    class Models:
        def upload_blob(self, name: str, data: Any, overwrite: bool) -> None:
            stored[name] = data if isinstance(data, bytes) else str(data).encode()

    register_plain_model(Models())
    return stored


@cache
def _file(number: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [number * 1000 + row for row in range(5)]
    table = pa.table({"id": rows, "distance": [float(r % 97) for r in rows], "hour": [r % 24 for r in rows]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
