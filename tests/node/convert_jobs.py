"""Making conversion jobs: a stored model, frozen rows to compare on, and what the agent says of them."""

from __future__ import annotations

import io
from typing import Any

import numpy
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from node.package import job_reference
from tests.node.estate import ACCOUNT_URL, CLIENT_ID
from tests.node.jobs import Bench, as_parquet

FLIGHTS = [
    {"name": "carrier", "type": "string"},
    {"name": "distance", "type": "double"},
    {"name": "hour", "type": "long"},
]
CARRIERS = ("AA", "B6", "DL", "UA", "WN")


def some_flights(seed: int, count: int = 300) -> pandas.DataFrame:
    """`distance` lies between the floats, so that a threshold that became one would be seen."""
    chance = numpy.random.default_rng(seed)
    carriers = [CARRIERS[place] for place in chance.integers(0, len(CARRIERS), count)]
    distances = chance.uniform(50, 3000, count) / 3
    return pandas.DataFrame(
        {"carrier": carriers, "distance": distances, "hour": chance.integers(0, 24, count)}
    )


def with_categories() -> Pipeline:
    """As the demonstration's champion: texts to numbers, unknown ones to NaN, and trees that know them as categories."""
    rows = pandas.concat([some_flights(seed) for seed in range(4)])
    late = (rows["distance"] / 1000 + rows["hour"] / 12 + rows["carrier"].isin(["B6", "WN"])) % 1 > 0.5
    encode = ColumnTransformer(
        [
            (
                "text",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=numpy.nan),
                ["carrier"],
            ),
            ("numbers", "passthrough", ["distance", "hour"]),
        ]
    )
    classify = HistGradientBoostingClassifier(max_iter=20, categorical_features=[0], random_state=0)
    return Pipeline([("encode", encode), ("classify", classify)]).fit(rows, late.astype(int))


class ConvertBench(Bench):
    """One conversion of a run."""

    def __init__(self, estate: Any, name: str) -> None:
        super().__init__(estate, f"c{name}")
        self.run = f"deploy-{name}"
        self.job = {
            "schema": "muster.convert-job/1",
            "run": self.run,
            "job": "convert-e1",
            "account_url": ACCOUNT_URL,
            "state": {"container": self.state, "prefix": f"runs/{self.run}/"},
            "to": "onnx",
            "opset": 21,
            "sample": [],
            "rows": 500,
            "threshold": 0.5,
            "timeout_s": 60,
        }

    def given(self, data: bytes, frames: list[pandas.DataFrame]) -> None:
        self.model(data, inputs=FLIGHTS)
        for day, frame in enumerate(frames):
            self.job["sample"].append(self.item(f"days/{day}.parquet", as_parquet(frame)))

    def convert(self, **options: Any) -> tuple[int, str]:
        return self.score(reference=job_reference(ACCOUNT_URL, self.stored_job(), CLIENT_ID), **options)

    def conversion(self) -> dict[str, Any]:
        return self._json("conversion.json")

    def converted(self) -> bytes:
        return self.read(self.state, self.conversion()["file"]["blob"])


def dumped(model: Any) -> bytes:
    import joblib

    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()
