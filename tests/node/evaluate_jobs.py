"""Making evaluation jobs: two stored models, frozen test data, and what the agent says of them."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.node.jobs import as_parquet
from tests.node.train_jobs import TrainBench, some_labelled


class Coarse:
    """A model that knows the sign of x and nothing else."""

    classes_ = (0, 1)

    def predict(self, frame: Any) -> Any:
        return frame["x"] > 0

    def predict_proba(self, frame: Any) -> Any:
        import numpy

        sure = numpy.where(frame["x"] > 0, 0.7, 0.3)
        return numpy.column_stack([1 - sure, sure])


def fitted() -> Any:
    rows = some_labelled(99, 2000)
    return make_pipeline(LogisticRegression()).fit(rows[["x", "z"]], rows["late"])


def dumped(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


class EvaluateBench(TrainBench):
    """One evaluation of a run."""

    def judge(self, role: str, data: bytes, *, flavor: str = "sklearn", **card: Any) -> None:
        file = "model.onnx" if flavor == "onnx" else "model.joblib"
        prefix = f"runs/{self.run}/trials/{role}/0123/"
        document = {
            "flavor": flavor,
            "inputs": [{"name": "x", "type": "double"}, {"name": "z", "type": "double"}],
            "output": {"name": "p", "type": "double"},
            **card,
        }
        self.put(self.state, prefix + file, data)
        self.put(self.state, prefix + "MODEL.json", json.dumps(document).encode())
        model = {"role": role, "name": "late", "version": "1", "container": self.state, "prefix": prefix,
                 "file": file, "sha256": hashlib.sha256(data).hexdigest(), "flavor": flavor}  # fmt: skip
        self.job.setdefault("models", []).append(model)

    def days(self, count: int = 3, rows: int = 400) -> None:
        for day in range(count):
            self.add("test", f"test/{day}.parquet", as_parquet(some_labelled(1000 + day, rows)))

    def evaluate(self, **options: Any) -> tuple[int, str]:
        self.job |= {"schema": "muster.evaluate-job/1", "label": "late", "confidence": 0.95, "bootstrap": 200}
        self.job.setdefault("metrics", ["auc"])
        self.job.setdefault("slices", [])
        self.job["seed"] = 7
        return self.train(**options)

    def evaluation(self) -> dict[str, Any]:
        return self._json("evaluation.json")

    def evaluation_bytes(self) -> bytes:
        return self.read(self.state, f"runs/{self.run}/evaluation.json")
