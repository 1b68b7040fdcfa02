"""Trains one challenger: how likely does a flight arrive late, from what is known before it departs?

Called by Muster as `train.py --data FOLDER --label COLUMN --out FOLDER --checkpoint FOLDER --learning_rate 0.1 ...`;
see docs/training-code.md. Runs as well by hand. Killed and started again with the same CHECKPOINT, it goes on from the
last block of trees.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

TEXT = ["carrier", "origin", "dest"]
NUMBERS = ["distance", "hour", "minute", "sched_arr_time"]
KEYS = ["year", "month", "day", "sched_dep_time", "carrier", "flight", "tailnum", "origin", "dest"]
BLOCK = 20
"""Trees between two checkpoints."""
SEED = 2013
VALIDATION = 0.2


def main() -> None:
    options = _options()
    rows = _rows(options.data, options.label)
    seen, unseen = _split(rows)
    model = _fitted(seen, options)
    probability = model.predict_proba(unseen[TEXT + NUMBERS])[:, 1]
    late = unseen[options.label]
    metrics = {
        "auc": round(float(roc_auc_score(late, probability)), 6),
        "brier": round(float(brier_score_loss(late, probability)), 6),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, options.out / "model.joblib")
    (options.out / "MODEL.json").write_text(json.dumps(_card(options, len(seen), metrics), indent=1))
    (options.out / "metrics.json").write_text(json.dumps(metrics))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--label", default="late")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--learning_rate", type=float, default=0.1)
    parser.add_argument("--max_leaf_nodes", type=int, default=31)
    parser.add_argument("--l2", type=float, default=0.0)
    parser.add_argument("--trees", type=int, default=60)
    return parser.parse_args()


def _rows(folder: Path, label: str) -> pandas.DataFrame:
    """All rows with a label, in the order of the files' names: a flight that never arrived was neither late nor not."""
    files = sorted(path for path in folder.rglob("*.parquet"))
    if not files:
        raise SystemExit(f"no Parquet file in {folder}")
    rows = pandas.concat([pandas.read_parquet(path, columns=[*TEXT, *NUMBERS, label]) for path in files])
    rows = rows[rows[label].notna()].reset_index(drop=True)
    return rows.astype({label: "int64"})


def _split(rows: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """(to train on, to validate on), the same for every trial, so that their metrics compare."""
    chosen = numpy.random.default_rng(SEED).random(len(rows)) < VALIDATION
    return rows[~chosen], rows[chosen]


def _fitted(seen: pandas.DataFrame, options: argparse.Namespace) -> Pipeline:
    """The pipeline with all its trees, grown block by block, each block kept before the next begins."""
    kept = options.checkpoint / "pipeline.joblib"
    model = joblib.load(kept) if kept.exists() else _pipeline(options)
    encode, classify = model.named_steps["encode"], model.named_steps["classify"]
    columns, late = seen[TEXT + NUMBERS], seen[options.label]
    encoded = encode.fit_transform(columns)
    while (grown := getattr(classify, "n_iter_", 0)) < options.trees:
        classify.set_params(max_iter=min(grown + BLOCK, options.trees))
        classify.fit(encoded, late)
        _keep(model, kept)
        sys.stdout.write(f"{classify.n_iter_} of {options.trees} trees\n")
    return model


def _keep(model: Pipeline, path: Path) -> None:
    """Written aside and renamed: whoever looks finds a whole checkpoint or the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    joblib.dump(model, fresh)
    os.replace(fresh, path)


def _pipeline(options: argparse.Namespace) -> Pipeline:
    unknown = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=numpy.nan)
    encode = ColumnTransformer(
        [("text", unknown, TEXT), ("numbers", "passthrough", NUMBERS)], verbose_feature_names_out=False
    )
    classify = HistGradientBoostingClassifier(
        learning_rate=options.learning_rate,
        max_leaf_nodes=options.max_leaf_nodes,
        l2_regularization=options.l2,
        categorical_features=list(range(len(TEXT))),
        early_stopping=False,
        warm_start=True,
        random_state=SEED,
    )
    return Pipeline([("encode", encode), ("classify", classify)])


def _card(options: argparse.Namespace, rows: int, metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "flavor": "sklearn",
        "inputs": [
            *({"name": column, "type": "string"} for column in TEXT),
            *({"name": column, "type": "long"} for column in NUMBERS),
        ],
        "output": {"name": "late_probability", "type": "double"},
        "keys": KEYS,
        "metrics": metrics,
        "trained": {
            "rows": rows,
            "label": options.label,
            "validation": f"{VALIDATION:.0%} of the rows, at random",
        },
    }


if __name__ == "__main__":
    main()
