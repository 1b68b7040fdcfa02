"""Making training jobs: a run with frozen data, code as text, and what the agent left of it."""

from __future__ import annotations

import hashlib
import io
import json
import textwrap
from typing import Any

import numpy
import pandas

from node.package import BlobReference, job_reference
from tests.node.estate import ACCOUNT_URL, CLIENT_ID, Estate
from tests.node.jobs import Bench, as_parquet, zipped

SIMPLE = """
    import argparse, json, os, sys, time
    from pathlib import Path

    parser = argparse.ArgumentParser()
    for name in ("data", "label", "out", "checkpoint"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--strength", type=float, default=1.0)
    options = parser.parse_args()
    OUT, CHECKPOINT = Path(options.out), Path(options.checkpoint)

    def rows():
        import pandas
        files = sorted(Path(options.data).rglob("*.parquet"))
        return pandas.concat([pandas.read_parquet(path) for path in files])

    def leave(metrics, card=None):
        import joblib
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        frame = rows()
        model = make_pipeline(LogisticRegression(C=options.strength)).fit(frame[["x", "z"]], frame[options.label])
        joblib.dump(model, OUT / "model.joblib")
        (OUT / "metrics.json").write_text(json.dumps(metrics))
        card = card or {"flavor": "sklearn", "output": {"name": "p", "type": "double"},
                        "inputs": [{"name": "x", "type": "double"}, {"name": "z", "type": "double"}]}
        (OUT / "MODEL.json").write_text(json.dumps(card))
"""


def some_labelled(seed: int, count: int = 200) -> pandas.DataFrame:
    chance = numpy.random.default_rng(seed)
    x, z = chance.normal(size=count), chance.normal(size=count)
    late = (x - z / 2 + chance.normal(size=count) > 0).astype("int64")
    unit = [("AA", "B6", "UA")[n % 3] for n in range(count)]
    return pandas.DataFrame({"x": x, "z": z, "carrier": unit, "late": late})


class TrainBench(Bench):
    """One retraining run."""

    def __init__(self, estate: Estate, name: str) -> None:
        super().__init__(estate, f"t{name}")
        self.run = f"train-{name}"
        self.manifest: dict[str, Any] = {"train": [], "test": [], "label": "late", "schema": {}}
        self.job = {
            "schema": "muster.train-job/1",
            "run": self.run,
            "job": "t000-e1",
            "account_url": ACCOUNT_URL,
            "state": {"container": self.state, "prefix": f"runs/{self.run}/"},
            "trial": "t000",
            "parameters": {},
            "unit": None,
            "timeout_s": 60,
        }
        for day in range(2):
            self.add("train", f"days/{day}.parquet", as_parquet(some_labelled(day)))

    def add(self, part: str, blob: str, data: bytes) -> None:
        self.manifest[part].append(self.item(blob, data))

    def program(self, body: str, *, entry: str = "train.py") -> None:
        """SIMPLE and then `body`."""
        self.training_code(
            zipped([("train.py", textwrap.dedent(SIMPLE) + "\n" + textwrap.dedent(body))]), entry
        )

    def training_code(self, archive: bytes, entry: str = "train.py") -> None:
        self.put(self.state, "code/train.zip", archive)
        digest = hashlib.sha256(archive).hexdigest()
        self.job["code"] = {
            "container": self.state,
            "blob": "code/train.zip",
            "sha256": digest,
            "entry": entry,
        }

    def reference(self) -> str:
        self.job["data"] = self.promised(f"runs/{self.run}/data.json", json.dumps(self.manifest).encode())
        data = json.dumps(self.job).encode()
        promised = self.promised(f"runs/{self.run}/jobs/{self.job['job']}.json", data)
        return job_reference(ACCOUNT_URL, BlobReference(**promised), CLIENT_ID)

    def promised(self, blob: str, data: bytes) -> dict[str, str]:
        self.put(self.state, blob, data)
        return {"container": self.state, "blob": blob, "sha256": hashlib.sha256(data).hexdigest()}

    def train(self, **options: Any) -> tuple[int, str]:
        return self.score(reference=self.reference(), **options)

    def trial(self, name: str = "t000") -> dict[str, Any]:
        return self._json(f"trials/{name}.json")

    def log(self, name: str = "t000") -> str:
        return self.read(self.state, f"runs/{self.run}/trials/{name}/log.txt").decode()

    def model_of(self, record: dict[str, Any]) -> Any:
        import joblib

        stored = record["model"]
        data = self.read(stored["container"], stored["prefix"] + stored["file"])
        assert hashlib.sha256(data).hexdigest() == stored["sha256"]
        return joblib.load(io.BytesIO(data))
