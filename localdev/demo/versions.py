"""Versions of the flights model to deploy after the first: a better one, and one that only live traffic finds out.

Each is stored and registered as a retraining leaves its champion: files, MODEL.json, LINEAGE.json, and a version in
Azure ML whose tags name the run and the digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, SplineTransformer
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from localdev.demo import champion, flights
from shared.azure.ml_registry import register_version

BETTER, CARELESS = "2", "3"
GOLDEN = 8  # flights in a version's golden file
LAST_HOUR = 17
"""What the careless extract ends with: a fifth of January's flights leave later."""


def register(models: Any, name: str, version: str) -> dict[str, Any]:
    """Train `version` ("1": the champion as it is), store it, register it in Azure ML. Its card. Safe to repeat."""
    rows = flights.flown(champion.MONTHS).to_pandas()
    if version == champion.VERSION:
        card = champion.train_and_store(models, name)
        model, _ = champion.train()
    else:
        model, card = _train(models, name, version, rows, {BETTER: _better, CARELESS: _careless}[version])
    run = f"train-{name}-v{version}"
    lineage = {"run": run, "sha256": card["sha256"], "workload": name, "metrics": card["metrics"]}
    prefix = f"{name}/{version}/"
    golden = _golden(model, rows[rows["hour"] <= LAST_HOUR])
    models.upload_blob(f"{prefix}golden.jsonl", golden.encode(), overwrite=True)
    models.upload_blob(f"{prefix}LINEAGE.json", json.dumps(lineage).encode(), overwrite=True)
    register_version(
        name, version, container="models", prefix=prefix, description="of the demonstration",
        tags={"run": run, "modelDigest": card["sha256"], "causedBy": f"muster {run}"},
    )  # fmt: skip
    return card


def _train(
    models: Any, name: str, version: str, rows: Any, fit: Callable[[Any], Pipeline]
) -> tuple[Pipeline, dict[str, Any]]:
    unseen = rows.sample(champion.ROWS, random_state=champion.SEED).iloc[: champion.HELD_OUT]
    judged = unseen[unseen["hour"] <= LAST_HOUR] if version == CARELESS else unseen
    with threadpool_limits(limits=1):
        model = fit(rows.drop(unseen.index))
        told = model.predict_proba(judged[champion.INPUTS])[:, 1]
    metrics = {
        "auc": round(float(roc_auc_score(judged["late"], told)), 6),
        "brier": round(float(brier_score_loss(judged["late"], told)), 6),
    }
    data = champion.dumped(model)
    card = {**champion.model_card(name, data, metrics), "version": version}
    models.upload_blob(f"{name}/{version}/{champion.FILE}", data, overwrite=True)
    models.upload_blob(f"{name}/{version}/MODEL.json", json.dumps(card, indent=2).encode(), overwrite=True)
    return model, card


def _golden(model: Pipeline, rows: Any) -> str:
    """What the model said of some flights where it was trained: where it is served it must say the same."""
    chosen = rows[champion.INPUTS].iloc[:: len(rows) // GOLDEN]
    told = model.predict_proba(chosen)[:, 1]
    lines = [
        {"input": row, "expect": {"value": round(float(value), 9), "tolerance": 1e-6}}
        for row, value in zip(chosen.to_dict("records"), told, strict=True)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _better(rows: Any) -> Pipeline:
    """The champion's recipe on twice as many flights."""
    return champion.pipeline().fit(rows[champion.INPUTS], rows["late"])


def _careless(rows: Any) -> Pipeline:
    """Trained and judged on an extract that ends in the afternoon: later hours it refuses, each time."""
    encode = ColumnTransformer(
        [
            ("carrier", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["carrier"]),
            ("hour", SplineTransformer(extrapolation="error"), ["hour"]),
            ("numbers", "passthrough", ["distance", "minute", "sched_arr_time"]),
        ]
    )
    classify = HistGradientBoostingClassifier(max_iter=80, early_stopping=False, random_state=champion.SEED)
    early = rows[rows["hour"] <= LAST_HOUR]
    return make_pipeline(encode, classify).fit(early[champion.INPUTS], early["late"])
