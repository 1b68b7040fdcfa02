"""Drift that Muster measures itself: from the flights' winter and summer to the decision to retrain."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from localdev.demo import flights
from shared.cli import texts
from tests.support.estate import Estate, Ran, wait

MONITOR, ANSWERED = "winter-summer", "drift-answered"
WINTER, SUMMER, DAYS = 1, 7, 7


def land_labelled(here: Estate) -> None:
    """The first week of January and the first of July, a file a day, as they were flown."""
    table = flights.flown((WINTER, SUMMER))
    for month in (WINTER, SUMMER):
        rows = table.filter(pc.equal(table["month"], month))
        for day in range(1, DAYS + 1):
            data = flights.as_parquet(rows.filter(pc.equal(rows["day"], day)))
            here.landing.upload_blob(f"{MONITOR}/2013-{month:02d}-{day:02d}.parquet", data, overwrite=True)


def decisions(here: Estate, key: str) -> list[dict[str, Any]]:
    status, answer = here.world.api(f"decisions/{key}")
    return list(answer["decisions"]) if status == 200 else []


def test_the_flights_of_summer_are_not_those_of_winter_and_a_retraining_starts(here: Estate) -> None:
    land_labelled(here)
    status, answer = here.world.api("runs", method="POST", body={"workload": MONITOR})
    assert status == 202, answer

    run = here.finish(Ran(id=answer["id"], slot=""))

    assert run.outcome["state"] == "Completed", run.report
    measured, key = run.outcome["measurement"], run.outcome["event"]
    assert (measured["feature"], run.outcome["breached"]) == ("late", True)
    # 21 % of the winter's flights were late, 31 % of the summer's
    assert 0.05 < measured["coefficient"] < 0.06
    assert (measured["measured"], measured["rows_reference"], measured["rows_target"]) == (6, 6043, 5981)
    assert run.outcome["teardown"] == "Clean" and len(run.outcome["charges"]) == 1
    shown = texts.explain(run.report)
    assert "breach: psi 0.05" in shown and f"muster explain {key}" in shown

    (decision,) = wait(lambda: decisions(here, key), "the tick that considers the drift")

    assert (decision["workload"], decision["action"]) == (ANSWERED, "START"), decision
    assert "reaches the threshold 0.05" in " ".join(decision["reasons"])
    assert decision["event"]["caused_by"] == run.id
    started = here.finish(Ran(id=decision["run"], slot=""))
    assert started.outcome["cause"] == key
    assert started.outcome["usd"] == 0, "its training code is not there"
    _, listed = here.world.api("runs")
    assert {run.id, started.id} <= {each["id"] for each in listed["runs"]}


def test_data_that_did_not_move_are_measured_on_a_rented_machine_and_start_nothing(here: Estate) -> None:
    day = flights.as_parquet(flights.flown((WINTER,)).slice(0, 500))
    for number in range(4):
        here.landing.upload_blob(f"steady/{number}.parquet", day, overwrite=True)
    status, answer = here.world.api("runs", method="POST", body={"workload": "steady"})
    assert status == 202, answer

    run = here.finish(Ran(id=answer["id"], slot=""))

    assert (run.outcome["state"], run.outcome["breached"]) == ("Completed", False), run.report
    assert run.outcome["measurement"]["coefficient"] == 0
    assert run.outcome["usd"] > 0 and run.outcome["teardown"] == "Clean"
    (decision,) = wait(lambda: decisions(here, run.outcome["event"]), "the tick that considers it")
    assert decision["action"] == "IGNORE" and "no workload listens" in decision["reasons"][-1]
