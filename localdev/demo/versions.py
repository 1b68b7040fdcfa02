"""Versions of the flights model to deploy after the first: a better one, and one that only live traffic finds out.

Each is stored and registered as a retraining leaves its champion: files, MODEL.json, LINEAGE.json, and a version in
Azure ML whose tags name the run and the digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from localdev.demo import champion, flights
from shared.azure.ml_registry import register_version

BETTER, CARELESS = "2", "3"
LAST_HOUR = 17
"""What the careless extract ends with: a fifth of January's flights leave later."""


def register(models: Any, name: str, version: str) -> dict[str, Any]:
    """Train `version` ("1": the champion as it is), store it, register it in Azure ML. Its card. Safe to repeat."""
    if version == champion.VERSION:
        card = champion.train_and_store(models, name)
    else:
        card = _train(models, name, version, {BETTER: _better, CARELESS: _careless}[version])
    run = f"train-{name}-v{version}"
    lineage = {"run": run, "sha256": card["sha256"], "workload": name, "metrics": card["metrics"]}
    prefix = f"{name}/{version}/"
    models.upload_blob(f"{prefix}LINEAGE.json", json.dumps(lineage).encode(), overwrite=True)
    register_version(
        name, version, container="models", prefix=prefix, description="of the demonstration",
        tags={"run": run, "modelDigest": card["sha256"], "causedBy": f"muster {run}"},
    )  # fmt: skip
    return card


def _train(models: Any, name: str, version: str, fit: Callable[[Any], Pipeline]) -> dict[str, Any]:
    rows = flights.flown(champion.MONTHS).to_pandas()
    sample = rows.sample(champion.ROWS, random_state=champion.SEED)
    unseen = sample.iloc[: champion.HELD_OUT]  # the rows that judged the champion
    with threadpool_limits(limits=1):
        model = fit(rows.drop(unseen.index))
        unseen = unseen[unseen["hour"] <= LAST_HOUR] if version == CARELESS else unseen
        told = model.predict_proba(unseen[champion.INPUTS])[:, 1]
    metrics = {
        "auc": round(float(roc_auc_score(unseen["late"], told)), 6),
        "brier": round(float(brier_score_loss(unseen["late"], told)), 6),
    }
    data = champion.dumped(model)
    card = {**champion.model_card(name, data, metrics), "version": version}
    models.upload_blob(f"{name}/{version}/{champion.FILE}", data, overwrite=True)
    models.upload_blob(f"{name}/{version}/MODEL.json", json.dumps(card, indent=2).encode(), overwrite=True)
    return card


def _better(rows: Any) -> Pipeline:
    """The champion's recipe on twice as many flights."""
    return champion.pipeline().fit(rows[champion.INPUTS], rows["late"])


def _careless(rows: Any) -> Pipeline:
    """Trained and judged on an extract that ends in the afternoon: it refuses every later hour, at the first such row."""
    encode = ColumnTransformer(
        [("hour", SplineTransformer(extrapolation="error"), ["hour"]),
         ("distance", StandardScaler(), ["distance"])],
    )  # fmt: skip
    early = rows[rows["hour"] <= LAST_HOUR]
    return make_pipeline(encode, LogisticRegression()).fit(early[champion.INPUTS], early["late"])
