"""A world for tests: the real app in a process of its own, the simulator, Azurite, and small real data and models."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from localdev.clock import Clock
from localdev.demo.world import World, blob_service
from shared.domain import names

SPEED = 60.0
ROWS_PER_FILE = 40
PATIENCE_S = 150.0
MODEL = "plain"

type Declaration = dict[str, Any]


def declaration(name: str, **changes: Any) -> Declaration:
    """A small valid declaration; `changes` are merged into it, section by section."""
    base: Declaration = {
        "kind": "BatchScoring",
        "name": name,
        "input": {"container": "landing", "prefix": f"{name}/", "pattern": "*.parquet", "settle": "PT0S"},
        "model": {"name": MODEL, "version": "champion"},
        "compute": {
            "platform": "dsvm",
            "sizes": ["Standard_D2s_v5", "Standard_D4s_v5"],
            "regions": ["westeurope"],
        },
        "fanout": {"maxShards": 3, "attempts": 2},
        "limits": {"deadline": "PT2H", "ttl": "PT3H"},
        "output": {"container": "scores", "path": f"{name}/{{slot}}/"},
    }
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, Mapping) else values
    return base


@dataclass
class Ran:
    """A run as a test sees it."""

    id: str
    slot: str
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> dict[str, Any]:
        found: dict[str, Any] = self.report.get("outcome") or {}
        return found

    @property
    def vm(self) -> str:
        """Name of the first machine this run makes."""
        return self.vm_of(1)

    def vm_of(self, epoch: int, batch: int = 0) -> str:
        return names.vm_name(names.lease_id(self.id, "score", batch), epoch)

    def cluster_of(self, epoch: int, role: str = "") -> str:
        """Name of its first lease's cluster; that of the trials, for a retraining."""
        role = role or self.id.partition("-")[0]
        return names.cluster_name(names.lease_id(self.id, role, 0), epoch)


class Estate:
    """What tests do to a world and read back from it. `retrainings`: the workloads that are no scoring."""

    def __init__(self, world: World, retrainings: frozenset[str] = frozenset()) -> None:
        self.world = world
        self._retrainings = retrainings
        self.service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
        self.scores = self.service.get_container_client("scores")
        self.landing = self.service.get_container_client("landing")
        self.state = self.service.get_container_client("muster")

    def land(self, workload: str, files: int = 3) -> list[str]:
        """Put `files` small Parquet files where the workload looks. Gives their names."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names_ = []
        for number in range(files):
            rows = [number * 1000 + row for row in range(ROWS_PER_FILE)]
            table = pa.table(
                {"id": rows, "distance": [float(r % 97) for r in rows], "hour": [r % 24 for r in rows]}
            )
            buffer = io.BytesIO()
            pq.write_table(table, buffer)
            name = f"{workload}/{number:03d}.parquet"
            self.landing.upload_blob(name, buffer.getvalue(), overwrite=True)
            names_.append(name)
        self.settle_second()
        return names_

    def land_bytes(self, name: str, data: bytes) -> None:
        self.landing.upload_blob(name, data, overwrite=True)
        self.settle_second()

    def settle_second(self) -> None:
        """Let Blob Storage's clock leave this second: Last-Modified has whole seconds, and inputs must be settled."""
        newest = self.service.get_service_properties  # any request: its Date header is the storage's time
        start = _date(newest)
        wait(lambda: (_date(newest) - start) >= timedelta(seconds=2), "the next seconds of Blob Storage")

    def fault(self, run: Ran | None = None, *, vm: str = "", **fault: Any) -> None:
        """Arm a fault, for the machine `vm` of a run only (its first, unless named)."""
        name = vm or (run.vm if run else "")
        self.world.control.add_faults({**fault, **({"resource": f"*{name}*"} if name else {})})

    def expect(self, workload: str, key: str = "k1") -> Ran:
        """The run that `start` will make for this key."""
        import hashlib

        slot = "manual-" + hashlib.sha256(f"{workload}|{key}".encode()).hexdigest()[:16]
        run_id = names.train_run_id if workload in self._retrainings else names.score_run_id
        return Ran(id=run_id(workload, slot), slot=slot)

    def start(self, workload: str, key: str = "k1") -> Ran:
        run = self.expect(workload, key)
        status, answer = self.world.api(
            "runs", method="POST", body={"workload": workload}, headers={"Idempotency-Key": key}
        )
        assert status == 202, answer
        assert answer["id"] == run.id
        return run

    def score(self, workload: str, key: str = "k1") -> Ran:
        """Start a run and wait until it is over."""
        return self.finish(self.start(workload, key))

    def finish(self, run: Ran, seconds: float = PATIENCE_S) -> Ran:
        self.until(run, lambda report: report["state"] not in ("Running", "Pending"), seconds)
        self.outcome(run)
        return run

    def outcome(self, run: Ran) -> None:
        """A failed instance's outcome is in its record: take it from there, as an operator would."""
        if not run.report.get("outcome"):
            record = self.read_json(self.state, f"runs/{run.id}/outcome.json")
            run.report["outcome"] = record

    def until(self, run: Ran, reached: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE_S) -> None:
        def look() -> bool:
            status, run.report = self.world.api(f"runs/{run.id}")
            return status == 200 and reached(run.report)

        wait(look, f"{run.id} to get there; last seen {run.report}", seconds)

    def read_json(self, container: Any, name: str) -> Any:
        data = self.read(container, name)
        return None if data is None else json.loads(data)

    def read(self, container: Any, name: str) -> bytes | None:
        blob = container.get_blob_client(name)
        return bytes(blob.download_blob().readall()) if blob.exists() else None

    def published(self, run: Ran, workload: str) -> dict[str, bytes]:
        """Every blob in the run's output folder."""
        prefix = f"{workload}/{run.slot}/"
        found = [b.name for b in self.scores.list_blobs(prefix)]
        return {name.removeprefix(prefix): self.read(self.scores, name) or b"" for name in found}

    def machines(self) -> list[dict[str, Any]]:
        """Everything in the burn group that is not part of its furniture."""
        return [
            r
            for r in self.world.control.resources()
            if any(part in r["id"].lower() for part in ("/vm-", "computevm-", "/computes/ml-"))
        ]


def _date(request: Callable[..., Any]) -> datetime:
    from email.utils import parsedate_to_datetime

    headers: dict[str, str] = {}
    request(raw_response_hook=lambda response: headers.update(response.http_response.headers))
    return parsedate_to_datetime(headers.get("Date") or headers["date"])


def wait(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer of `look`; AssertionError naming what did not come."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if answer := look():
            return answer
        pause.wait(0.1)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


@contextmanager
def estate(
    state: Path, declarations: list[Declaration], *, speed: float = SPEED, start: datetime | None = None
) -> Iterator[Estate]:
    """A running world with `declarations` deployed and the model `plain` registered. Its clock begins at `start`."""
    workloads = state / "workloads"
    workloads.mkdir(parents=True, exist_ok=True)
    for one in declarations:
        (workloads / f"{one['name']}.yaml").write_text(yaml.safe_dump(one))
    clock = Clock.create(state / "clock.json", start=start, speed=speed)
    with World(state, clock=clock, workloads=workloads) as world:
        found = Estate(world, frozenset(d["name"] for d in declarations if d["kind"] == "Retraining"))
        register_plain_model(found.service.get_container_client("models"))
        world.start_app()
        yield found


def register_plain_model(models: Any, *, version: str = "1", champion: bool = True) -> None:
    """A small scikit-learn model on two columns, stored as the registry expects it."""
    import hashlib

    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(7)
    frame = pd.DataFrame({"distance": generator.uniform(0, 97, 500), "hour": generator.integers(0, 24, 500)})
    late = (frame["hour"] + generator.normal(0, 4, 500) > 14).astype(int)
    buffer = io.BytesIO()
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, late), buffer)
    data = buffer.getvalue()
    card = {
        "name": MODEL, "version": version, "flavor": "sklearn", "file": "model.joblib",
        "sha256": hashlib.sha256(data).hexdigest(), "size": len(data),
        "inputs": [{"name": "distance", "type": "double"}, {"name": "hour", "type": "long"}],
        "output": {"name": "late_probability", "type": "double"}, "keys": ["id"], "metrics": {}, "trained": {},
    }  # fmt: skip
    models.upload_blob(f"{MODEL}/{version}/model.joblib", data, overwrite=True)
    models.upload_blob(f"{MODEL}/{version}/MODEL.json", json.dumps(card), overwrite=True)
    if champion:
        models.upload_blob(f"{MODEL}/champion.json", json.dumps({"version": version}), overwrite=True)
