"""Models per unit for tests: small ones that are told apart by what they predict, judging jobs, and stored versions."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from typing import Any

import numpy

from node.models import parse_card
from node.unit_evaluation import contract_of
from tests.node.estate import Estate
from tests.node.evaluate_jobs import Coarse, EvaluateBench, dumped
from tests.node.jobs import Bench

CARD = {
    "flavor": "sklearn",
    "inputs": [{"name": "x", "type": "double"}, {"name": "z", "type": "double"}],
    "output": {"name": "p", "type": "double"},
    "keys": [],
}


class Always:
    """Predicts one number for every row."""

    def __init__(self, value: float) -> None:
        self._value = value

    def predict(self, frame: Any) -> Any:
        return numpy.full(len(frame), self._value)


class Opposite(Coarse):
    def predict_proba(self, frame: Any) -> Any:
        return 1 - super().predict_proba(frame)


class Killer:
    """Takes its process with it, as a library that aborts does."""

    def predict(self, frame: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)


class Sleeper:
    def predict(self, frame: Any) -> Any:
        time.sleep(3600)


class UnitsBench(EvaluateBench):
    """One judging job of a run; units are carriers, AA, B6 and UA by turns."""

    def unit(self, id_: str, value: str, **models: Any) -> None:
        """A unit with its `challenger` and perhaps its `champion`; a champion's card is the job's contract."""
        name, contract = contract_of(parse_card(json.dumps({**CARD, "name": "m", "version": "1", "file": "f",
                                                            "sha256": "0" * 64}).encode()))  # fmt: skip
        told = []
        for role, model in models.items():
            data = model if isinstance(model, bytes) else dumped(model)
            prefix = f"runs/{self.run}/{role}/{id_}/"
            self.put(self.state, f"{prefix}model.joblib", data)
            if role == "challenger":
                self.put(self.state, f"{prefix}MODEL.json", json.dumps(CARD).encode())
            told.append({"role": role, "name": "m", "version": "1", "container": self.state, "prefix": prefix,
                         "file": "model.joblib", "sha256": hashlib.sha256(data).hexdigest(), "flavor": "sklearn",
                         **({"contract": name} if role == "champion" else {})})  # fmt: skip
        self.job.setdefault("contracts", {})[name] = contract
        self.job.setdefault("units", []).append({"id": id_, "value": value, "models": told})

    def judge_units(self, **options: Any) -> tuple[int, str]:
        self.job |= {"schema": "muster.evaluate-units-job/1", "label": "late", "chunk": 3, "column": "carrier",
                     "metrics": ["auc"], "confidence": 0.95, "bootstrap": 200, "seed": 7, "workers": 2}  # fmt: skip
        return self.train(**options)

    def found(self) -> dict[str, dict[str, Any]]:
        document = self._json("units/evaluations/00003.json")
        return {unit["id"]: unit for unit in document["units"]}


class UnitScores(Bench):
    """Scoring with a stored model per unit, by tail number."""

    def __init__(self, estate: Estate, name: str) -> None:
        super().__init__(estate, f"u{name}")

    def units(self, column: str, models: dict[str, Any], **changes: Any) -> None:
        """A version that holds `models`; `changes` to the index's entries."""
        contract = {"inputs": [{"name": "distance", "type": "double"}, {"name": "hour", "type": "long"}],
                    "output": {"name": "late_probability", "type": "double"}, "keys": ["flight"]}  # fmt: skip
        entries = []
        for unit, model in models.items():
            data = dumped(model)
            self.put(self.models, f"flights-delay/1/units/key-{unit}/model.joblib", data)
            told = {"unit": unit, "key": f"key-{unit}", "file": "model.joblib", "size": len(data), "flavor": "sklearn",
                    "sha256": hashlib.sha256(data).hexdigest(), "contract": "c"}  # fmt: skip
            entries.append(told | changes)
        index = {
            "schema_version": "muster.units/1",
            "column": column,
            "contracts": {"c": contract},
            "units": entries,
        }
        self.model(json.dumps(index).encode(), flavor="units", file="UNITS.json", **contract)
