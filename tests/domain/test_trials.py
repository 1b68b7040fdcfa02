"""The same declaration gives the same trials wherever they are planned, within the bounds that it declares."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.retraining import MAX_UNITS, Trials
from shared.domain.trials import Trial, plan_trials, plan_units, units_per_job

SPACE: dict[str, Any] = {
    "learning_rate": {"logUniform": [0.02, 0.3]},
    "leaves": {"choice": [15, 31, 63]},
    "l2": {"uniform": [0, 1]},
    "depth": {"quniform": [2, 10, 2]},
}


FIRST = {"learning_rate": 0.162817759294, "leaves": 15, "l2": 0.333096975014, "depth": 2}
DIGEST = "efdab52b8db1880c49effa1b5886a35864c7bfcb0397dd1eee6e5fd8ff6e5fcc"


def planned(space: dict[str, Any] | None = None, **changes: Any) -> list[Trial]:
    declared = {"sampling": "random", "seed": 7, "count": 8, "space": space or SPACE} | changes
    return list(plan_trials(Trials.model_validate({k: v for k, v in declared.items() if v is not None})))


def test_the_trials_of_a_seed_are_these_on_every_machine() -> None:
    """Written down once: another machine, another Python or another library must find the same."""
    told = json.dumps([trial.model_dump(mode="json") for trial in planned(count=200)], sort_keys=True)

    assert planned()[0].parameters == FIRST
    assert hashlib.sha256(told.encode()).hexdigest() == DIGEST


def test_each_value_is_within_its_bounds_and_of_its_kind() -> None:
    trials = planned(count=500)

    for trial in trials:
        rate, leaves, l2, depth = (trial.parameters[name] for name in SPACE)
        assert isinstance(rate, float) and 0.02 <= rate <= 0.3
        assert leaves in (15, 31, 63) and isinstance(leaves, int)
        assert isinstance(l2, float) and 0 <= l2 <= 1
        assert depth in (2, 4, 6, 8, 10) and isinstance(depth, int)
    assert {trial.parameters["depth"] for trial in trials} == {2, 4, 6, 8, 10}
    assert {trial.parameters["leaves"] for trial in trials} == {15, 31, 63}


def test_a_log_uniform_gives_each_order_of_magnitude_its_share() -> None:
    trials = planned({"x": {"logUniform": [0.001, 1]}}, count=3000)

    decades = [math.floor(math.log10(float(trial.parameters["x"]))) for trial in trials]
    for decade in (-3, -2, -1):
        assert 900 < decades.count(decade) < 1100


def test_a_uniform_gives_each_part_its_share() -> None:
    values = [float(trial.parameters["x"]) for trial in planned({"x": {"uniform": [10, 20]}}, count=4000)]

    for start in range(10, 20):
        assert 320 < sum(start <= value < start + 1 for value in values) < 480


def test_a_trial_stays_what_it_is_when_there_are_more_of_them() -> None:
    assert [t.parameters for t in planned(count=100)][:8] == [t.parameters for t in planned(count=8)]


def test_a_value_stays_what_it_is_when_a_parameter_is_added() -> None:
    more = {**SPACE, "extra": {"uniform": [0, 1]}}

    assert [t.parameters["l2"] for t in planned(more)] == [t.parameters["l2"] for t in planned()]


def test_another_seed_gives_other_trials() -> None:
    assert not {str(t.parameters) for t in planned(seed=8)} & {str(t.parameters) for t in planned(seed=7)}


def test_no_point_is_tried_twice_and_a_small_space_is_used_up() -> None:
    space = {"a": {"choice": [1, 2, 3]}, "b": {"choice": [True, False]}}

    points = [json.dumps(trial.parameters) for trial in planned(space, count=6)]
    assert len(set(points)) == len(points) == 6
    assert len(planned(space, count=10)) == 6


def test_a_grid_has_every_point_once_in_the_declared_order() -> None:
    space = {"b": {"choice": [2, 1]}, "a": {"choice": ["x", "y", "z"]}}

    trials = planned(space, sampling="grid", count=None)
    assert [tuple(t.parameters.values()) for t in trials] == [
        (2, "x"), (2, "y"), (2, "z"), (1, "x"), (1, "y"), (1, "z"),
    ]  # fmt: skip


def test_trials_are_numbered_so_that_names_are_in_their_order() -> None:
    trials = planned({"x": {"uniform": [0, 1]}}, count=1200)

    ids = [trial.id for trial in trials]
    assert ids[:2] == ["t0000", "t0001"] and ids == sorted(ids) and len(set(ids)) == 1200
    assert [trial.id for trial in planned()][:2] == ["t000", "t001"]


def test_every_unit_is_a_trial_once_in_the_order_of_their_names() -> None:
    units = list(plan_units(["UA", "AA", "UA", "B6"]))

    assert [(t.id, t.unit, t.parameters) for t in units] == [
        ("t000", "AA", {}), ("t001", "B6", {}), ("t002", "UA", {}),
    ]  # fmt: skip


def test_eleven_thousand_units_are_planned_in_a_blob_of_a_megabyte() -> None:
    units = list(plan_units(f"store-{n}" for n in range(11_000)))

    assert len({unit.id for unit in units}) == 11_000
    assert sum(len(unit.model_dump_json()) for unit in units) < 1_000_000


@given(st.integers(1, MAX_UNITS), st.integers(1, 32))
def test_jobs_of_units_are_neither_too_large_nor_leave_a_machine_idle(units: int, machines: int) -> None:
    size = units_per_job(units, machines)

    assert 1 <= size <= 25
    assert -(-units // size) >= min(units, machines) or size == -(-units // machines)


def test_steps_that_are_no_whole_numbers_stay_short() -> None:
    values = {str(t.parameters["x"]) for t in planned({"x": {"quniform": [0.1, 0.5, 0.1]}}, count=400)}

    assert values == {"0.1", "0.2", "0.3", "0.4", "0.5"}
