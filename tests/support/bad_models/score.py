"""A scoring script as a user writes one, for models whose file says how they misbehave. It runs in the serving pods.

The model file is JSON: {"deed": "good", ..}. Right answers are a logistic curve over `hour`.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

DEEDS: dict[str, Any] = {}
KEPT: list[bytearray] = []
SERVED = [0]


def init() -> None:
    (file,) = Path(os.environ["AZUREML_MODEL_DIR"]).rglob("deeds.json")
    DEEDS.update(json.loads(file.read_text()))
    if DEEDS["deed"] == "crash":
        raise ImportError("No module named 'a_package_that_nobody_installed'")
    if DEEDS["deed"] == "memory":
        KEPT.append(bytearray(os.urandom(1 << 20)) * DEEDS["megabytes"])


def run(raw: str) -> dict[str, list[float]]:
    table = json.loads(raw)["input_data"]
    hour = table["columns"].index("hour")
    SERVED[0] += 1
    deed = DEEDS["deed"]
    if deed == "slow":
        time.sleep(DEEDS["seconds"])
    if deed == "flaky" and SERVED[0] % DEEDS["every"] == 0:
        raise RuntimeError("connection to the feature store was reset")
    if deed == "good then bad" and SERVED[0] > DEEDS["after"]:
        raise RuntimeError("the cache is full")
    distance = table["columns"].index("distance")
    if deed == "poison" and any(row[distance] < 0 for row in table["data"]):
        raise ValueError("distance is negative")
    return {"predictions": [_answer(deed, float(row[hour])) for row in table["data"]]}


def _answer(deed: str, hour: float) -> float:
    right = 1 / (1 + math.exp((12 - hour) / 4))
    if deed == "wrong":
        return 1 - right
    if deed == "nan":
        return math.nan
    return 0.9 + right / 10 if deed == "drifted" else right
