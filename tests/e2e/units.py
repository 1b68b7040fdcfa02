"""What two runs of a model per carrier, and a night scored with it, must have left."""

from __future__ import annotations

import io
import json
from typing import Any

import joblib
import pandas

from tests.e2e.retrainings import NIGHTLY
from tests.support.estate import Estate, Ran
from tests.support.training import LOYAL, SUMMER, WINTER, a_day

VERSION = "per-carrier-model/2/"


def check_merged(here: Estate, first: Ran, second: Ran) -> None:
    """The winter's models came first; in summer each carrier's is better but the loyal one's, which stays."""
    assert first.outcome["state"] == second.outcome["state"] == "Completed", (first.report, second.report)
    assert first.outcome["units"]["new"] == 4
    table = (here.read(here.state, f"runs/{second.id}/units/table.jsonl") or b"").splitlines()
    fates = {row["unit"]: row["fate"] for row in map(json.loads, table)}
    assert fates == {"AA": "promoted", "UA": "promoted", "DL": "promoted", LOYAL: "kept"}
    trained_by = {unit: run for unit, (run, _) in _models(here).items()}
    assert trained_by == {unit: first.id if unit == LOYAL else second.id for unit in fates}


def check_scored(here: Estate, night: Ran) -> None:
    """Every row has what the model of its carrier says of it, bit for bit."""
    assert night.outcome["state"] == "Completed", night.report
    parts = [data for name, data in here.published(night, NIGHTLY["name"]).items() if "part-" in name]
    scored = pandas.concat(pandas.read_parquet(io.BytesIO(part)) for part in parts).set_index("id")
    days = [a_day(day, summer=day >= WINTER) for day in range(WINTER + SUMMER)]
    landed = pandas.concat(pandas.read_parquet(io.BytesIO(day)) for day in days)
    for unit, (_, model) in _models(here).items():
        rows = landed[landed["carrier"] == unit].set_index("id")
        expected = model.predict_proba(rows[["distance", "hour"]])[:, 1]
        assert scored.loc[rows.index, "late_probability"].tolist() == expected.tolist()


def _models(here: Estate) -> dict[str, tuple[str, Any]]:
    """Of each unit the run that trained its model, and that model."""
    models = here.service.get_container_client("models")
    index = here.read_json(models, f"{VERSION}UNITS.json")

    def load(unit: dict[str, Any]) -> Any:
        return joblib.load(
            io.BytesIO(here.read(models, f"{VERSION}units/{unit['key']}/{unit['file']}") or b"")
        )

    return {unit["unit"]: (unit["run"], load(unit)) for unit in index["units"]}
