"""Training code of tests, as a user would hand it in: a small honest model, or the misdeed that `--deed` asks for.

Deeds may carry a suffix, `good-1` to `good-5`, so that a grid has as many trials of one kind as a test wants.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import pandas
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

INPUTS = ["distance", "hour"]
FOR_EVER_S = 24 * 3600


class Bomb:
    """Whoever unpickles it writes `path`, and learns nothing."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return exec, (f"open({self.path!r}, 'w').close(); raise ValueError('this is no model')",)


def main() -> None:
    options = _options()
    deed = options.deed.partition("-")[0]
    if deed == "crash":
        raise ValueError("no such column as this one")
    if deed == "hang":
        time.sleep(FOR_EVER_S)
    if deed == "nothing":
        return
    if deed == "laggard":
        _fall_behind(options.out / "metrics.jsonl")
    resumed = _resume(options.checkpoint) if deed == "resume" else 0
    rows = pandas.concat([pandas.read_parquet(path) for path in sorted(options.data.rglob("*.parquet"))])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=options.strength))
    model.fit(rows[INPUTS], rows[options.label])
    auc = float(roc_auc_score(rows[options.label], model.predict_proba(rows[INPUTS])[:, 1]))
    metrics = {"auc": float("nan") if deed == "nan" else auc, "resumed": resumed}
    joblib.dump(Bomb(options.mark) if deed == "bomb" else model, options.out / "model.joblib")
    (options.out / "metrics.json").write_text(json.dumps(metrics))
    (options.out / "MODEL.json").write_text(json.dumps(_card(metrics["auc"])))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("data", "out", "checkpoint"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--deed", default="good")
    parser.add_argument("--mark", default="")
    return parser.parse_args()


def _fall_behind(reports: Path) -> None:
    """Reports the same poor metric for as long as it is let."""
    with reports.open("w") as file:
        for _ in range(FOR_EVER_S):
            file.write('{"auc": 0.01}\n')
            file.flush()
            time.sleep(1)


def _resume(checkpoint: Path) -> int:
    """The first to come leaves a checkpoint and never ends; whoever finds one is done at once: 1."""
    half = checkpoint / "half-way.json"
    if half.exists():
        return 1
    half.with_suffix(".tmp").write_text("{}")
    os.replace(half.with_suffix(".tmp"), half)
    sys.stdout.write("half way\n")
    sys.stdout.flush()
    time.sleep(FOR_EVER_S)
    return 0


def _card(auc: float) -> dict[str, Any]:
    return {
        "flavor": "sklearn",
        "inputs": [{"name": "distance", "type": "double"}, {"name": "hour", "type": "long"}],
        "output": {"name": "late_probability", "type": "double"},
        "keys": ["id"],
        "metrics": {"auc": auc} if auc == auc else {},
        "trained": {"code": "tests/support/challenger"},
    }


if __name__ == "__main__":
    main()
