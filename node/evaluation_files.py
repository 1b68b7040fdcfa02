"""Names of what the steps of an evaluation leave for each other in their common folder."""

from __future__ import annotations

TEST_SET = "test_set.json"
PREPARED = "prepared.json"
LABELS = "labels.f64"
FEATURES = "features"
PREDICTED = "predictions.f64"
COMPARISON = "comparison.json"
EVALUATION = "evaluation.json"


def predictions_of(role: str) -> str:
    return f"predictions-{role}.f64"


def slice_codes(place: int) -> str:
    return f"slice-{place}.i32"
