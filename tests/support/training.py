"""Retrainings for tests: labelled data whose drift is real, champions that know only the winter, declarations, deeds."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.support.estate import Declaration, Estate

CODE = "tests/support/challenger"
PREFIX = "seasons/"
WINTER, SUMMER = 4, 6
ROWS = 400
LOYAL = "B6"
"""The carrier whose flights in summer are as they were in winter: a model of the summer is worse on them."""

INPUTS = ({"name": "distance", "type": "double"}, {"name": "hour", "type": "long"})


def retraining(name: str, **changes: Any) -> Declaration:
    """A small valid declaration on this machine; `changes` are merged into it, section by section."""
    base: Declaration = {
        "kind": "Retraining",
        "name": name,
        "data": {
            "container": "landing", "prefix": PREFIX, "train": {"newest": 4}, "test": {"newest": 2},
            "label": "late", "minNewBlobs": 2,
        },
        "model": {"name": f"{name}-model"},
        "training": {"code": CODE},
        "trials": {"sampling": "grid", "space": deeds("good"), "concurrency": 2, "timeout": "PT4H"},
        "gate": {"minRows": 100},
        "compute": {"platform": "local", "instances": 2},
        "limits": {"deadline": "PT12H", "ttl": "PT16H"},
    }  # fmt: skip
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, Mapping) else values
    return base


def deeds(*names: str, **more: Sequence[object]) -> dict[str, Any]:
    """A space in which each trial does one of these, in this order when it is walked as a grid."""
    return {"deed": {"choice": list(names)}, **{name: {"choice": list(each)} for name, each in more.items()}}


def trials(*names: str, **changes: Any) -> dict[str, Any]:
    """The section `trials` for a grid of deeds."""
    return {"space": deeds(*names), **changes}


def land_seasons(here: Estate, prefix: str = PREFIX) -> None:
    """Winter days, then summer days, in the order of their names. What makes a flight late is not the same in both."""
    for day in range(WINTER + SUMMER):
        here.landing.upload_blob(
            f"{prefix}{day:03d}.parquet", a_day(day, summer=day >= WINTER), overwrite=True
        )


def a_day(day: int, *, summer: bool, without: str = "", extra: str = "") -> bytes:
    """Labelled flights of one day as Parquet. `without` a column, or with an `extra` one: another schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = _columns(day, summer)
    if without:
        del columns[without]
    if extra:
        columns[extra] = [0.0] * ROWS
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _columns(day: int, summer: bool) -> dict[str, list[Any]]:
    """In winter it is the late hour that delays, in summer the early one. A flip is drift that no model survives."""
    import numpy as np

    chance = np.random.default_rng(1000 + day)
    hour, distance = chance.integers(0, 24, ROWS), chance.uniform(0, 97, ROWS)
    carrier = np.array(["AA", "UA", "DL", LOYAL])[chance.integers(0, 4, ROWS)]
    sign = np.where(summer & (carrier != LOYAL), -1.0, 1.0)
    late = sign * (hour - 12) + chance.normal(0, 5, ROWS) > 0
    return {
        "id": [day * ROWS + row for row in range(ROWS)], "carrier": carrier.tolist(),
        "distance": distance.tolist(), "hour": hour.tolist(), "late": late.astype("int64").tolist(),
    }  # fmt: skip


def winter_model() -> bytes:
    """What a champion is that was trained before the summer came."""
    return model_of(range(WINTER), summer=False)


def model_of(days: Iterable[int], *, summer: bool) -> bytes:
    """A model of the late flights of these days."""
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = pd.concat([pd.DataFrame(_columns(day, summer)) for day in days])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        rows[["distance", "hour"]], rows["late"]
    )
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def crown(here: Estate, model: str, data: bytes, *, knows: int = WINTER, prefix: str = PREFIX) -> None:
    """Make `data` version 1 of `model` and its champion, with a lineage that names the first `knows` blobs."""
    models = here.service.get_container_client("models")
    blobs = sorted(here.landing.list_blobs(prefix), key=lambda blob: blob.name)[:knows]
    frozen = {
        "train": [
            {"container": "landing", "blob": b.name, "etag": f'"{b.etag.strip(chr(34))}"'} for b in blobs
        ]
    }
    for name, content in first_version(model, data, known=json.dumps(frozen).encode()).items():
        models.upload_blob(f"{model}/{name}", content)


def first_version(model: str, data: bytes, *, known: bytes) -> dict[str, bytes]:
    """The blobs under `model`: version 1 with title, card, and a lineage whose frozen data is `known`."""
    card = {
        "name": model, "version": "1", "flavor": "sklearn", "file": "model.joblib", "inputs": INPUTS,
        "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "keys": ["id"], "metrics": {}, "trained": {},
        "output": {"name": "late_probability", "type": "double"},
    }  # fmt: skip
    place = {
        "container": "models",
        "blob": f"{model}/1/DATA.json",
        "sha256": hashlib.sha256(known).hexdigest(),
    }
    return {
        "1/model.joblib": data,
        "1/MODEL.json": json.dumps(card).encode(),
        "1/DATA.json": known,
        "1/LINEAGE.json": json.dumps({"run": "by-hand", "data": place}).encode(),
        "champion.json": json.dumps({"version": "1"}).encode(),
    }
