"""Making score jobs, running the agent on them as a machine would, and reading what it left."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import joblib
import pandas
import pyarrow.parquet
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from node.package import BlobReference, job_reference
from tests.node.estate import ACCOUNT_URL, CLIENT_ID, ROOT, Estate, die_with_parent

INPUTS = [{"name": "distance", "type": "double"}, {"name": "hour", "type": "long"}]
OUTPUT = {"name": "late_probability", "type": "double"}
KEYS = ["flight", "tailnum"]


def some_rows(seed: int, count: int = 40) -> pandas.DataFrame:
    numbers = [(seed * 7919 + n * 104729) % 2500 for n in range(count)]
    return pandas.DataFrame(
        {
            "flight": [1000 + n for n in range(count)],
            "tailnum": [f"N{n:05d}" for n in numbers],
            "distance": [float(n) for n in numbers],
            "hour": [(seed + n * 5) % 24 for n in range(count)],
        }
    )


def some_model() -> Any:
    frame = pandas.concat([some_rows(seed) for seed in range(5)])
    late = ((frame["distance"] + frame["hour"] * 90) % 700 > 350).astype(int)
    return make_pipeline(HistGradientBoostingClassifier(max_iter=15, random_state=0)).fit(
        frame[["distance", "hour"]], late
    )


def as_parquet(frame: pandas.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


class Bench:
    """One run: its containers are its own, so tests do not meet."""

    def __init__(self, estate: Estate, name: str) -> None:
        self.estate, self.name = estate, name
        self.run = f"score-{name}"
        self.state, self.landing, self.models, self.scores = (
            f"{kind}-{name}" for kind in ("muster", "landing", "models", "scores")
        )
        for container in (self.state, self.landing, self.models, self.scores):
            estate.blobs.create_container(container)
        self.job: dict[str, Any] = {
            "schema": "muster.score-job/1",
            "run": self.run,
            "job": "b00-e1",
            "account_url": ACCOUNT_URL,
            "state": {"container": self.state, "prefix": f"runs/{self.run}/"},
            "model": None,
            "code": None,
            "output": {"container": self.scores, "path": "flights/20130201T020000Z/"},
            "attempts": 3,
            "workers": 2,
            "shards": [],
        }

    def put(self, container: str, blob: str, data: bytes) -> str:
        """The new etag, bare, as a listing gives it."""
        answer = self.estate.blobs.get_blob_client(container, blob).upload_blob(data, overwrite=True)
        return str(answer["etag"]).strip('"')

    def item(self, blob: str, data: bytes) -> dict[str, Any]:
        etag = self.put(self.landing, blob, data)
        return {"container": self.landing, "blob": blob, "etag": etag, "size": len(data)}

    def shard(self, *items: dict[str, Any]) -> str:
        number = f"{len(self.job['shards']):05d}"
        key = hashlib.sha256("".join(item["etag"] for item in items).encode()).hexdigest()[:16]
        self.job["shards"].append({"id": number, "key": key, "items": list(items)})
        return number

    def model(self, data: bytes, *, flavor: str = "sklearn", file: str = "model.joblib", **card: Any) -> None:
        digest = hashlib.sha256(data).hexdigest()
        document = {
            "name": "flights-delay",
            "version": "1",
            "flavor": flavor,
            "file": file,
            "sha256": digest,
            "size": len(data),
            "inputs": INPUTS,
            "output": OUTPUT,
            "keys": KEYS,
            **card,
        }
        self.put(self.models, f"flights-delay/1/{file}", data)
        self.put(self.models, "flights-delay/1/MODEL.json", json.dumps(document).encode())
        self.job["model"] = {
            "container": self.models,
            "prefix": "flights-delay/1/",
            "name": "flights-delay",
            "version": "1",
            "flavor": flavor,
            "sha256": digest,
        }

    def sklearn(self, model: Any) -> None:
        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        self.model(buffer.getvalue())

    def code(self, archive: bytes, *, entry: str = "score.py", mini_batch_size: int = 10) -> None:
        self.put(self.state, "code/scoring.zip", archive)
        self.job["code"] = {
            "container": self.state,
            "blob": "code/scoring.zip",
            "sha256": hashlib.sha256(archive).hexdigest(),
            "entry": entry,
            "mini_batch_size": mini_batch_size,
        }

    def stored_job(self) -> BlobReference:
        data = json.dumps(self.job).encode()
        blob = f"runs/{self.run}/jobs/{self.job['job']}.json"
        self.put(self.state, blob, data)
        return BlobReference(self.state, blob, hashlib.sha256(data).hexdigest())

    def start(
        self,
        *,
        client_id: str = CLIENT_ID,
        reference: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        reference = reference or job_reference(ACCOUNT_URL, self.stored_job(), client_id)
        process = subprocess.Popen(
            [sys.executable, "-m", "node.agent", reference],
            cwd=ROOT,
            env={**self.estate.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        self.estate.agents.append(process)
        return process

    def score(self, **options: Any) -> tuple[int, str]:
        """Exit code and log of an agent that was left to end by itself."""
        output, _ = self.start(**options).communicate(timeout=120)
        return self.estate.agents[-1].returncode, output.decode()

    def read(self, container: str, blob: str) -> bytes:
        data: bytes = self.estate.blobs.get_blob_client(container, blob).download_blob().readall()
        return data

    def names(self, container: str, prefix: str = "") -> list[str]:
        return list(
            self.estate.blobs.get_container_client(container).list_blob_names(name_starts_with=prefix)
        )

    def progress(self) -> dict[str, Any]:
        return self._json(f"progress/{self.job['job']}.json")

    def record(self, shard: str) -> dict[str, Any]:
        return self._json(f"shards/{shard}.json")

    def records(self) -> list[str]:
        return self.names(self.state, f"runs/{self.run}/shards/")

    def parts(self) -> dict[str, bytes]:
        return {name: self.read(self.scores, name) for name in self.names(self.scores)}

    def rows(self, shard: str) -> pandas.DataFrame:
        output = self.record(shard)["output"]
        return pyarrow.parquet.read_table(io.BytesIO(self.read(self.scores, output["blob"]))).to_pandas()

    def outcomes(self, shard: str) -> list[tuple[str, str, int, int]]:
        items = self.record(shard)["items"]
        return [(item["blob"], item["status"], item["rows"], item["attempts"]) for item in items]

    def reasons(self, shard: str) -> dict[str, str]:
        return {item["blob"]: item["reason"] for item in self.record(shard)["items"] if item["reason"]}

    def _json(self, blob: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read(self.state, f"runs/{self.run}/{blob}"))
        return document


def until[T](look: Callable[[], T | None], what: str, *, within_s: float = 60) -> T:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise TimeoutError(what)


def zipped(files: Sequence[tuple[str, str]]) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files:
            archive.writestr(name, text)
    return buffer.getvalue()
