"""Training data are frozen and looked at before anything is bought; trials are planned once and all counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from activities import training
from shared.azure import blob
from shared.domain.errors import SpecError
from shared.domain.retrain import PlanRequest
from tests.activities.retrainings import Retrained

pytestmark = pytest.mark.usefixtures("cloud")

DAYS = tuple(f"2026-03-{day:02d}.parquet" for day in range(1, 8))
INPUTS = [{"name": "distance", "type": "double"}, {"name": "carrier", "type": "string"}]


def _landed(**changes: Any) -> Retrained:
    retrained = Retrained(changes)
    retrained.land(*DAYS)
    return retrained


def _names(items: list[dict[str, Any]]) -> list[str]:
    return [item["blob"].rsplit("/", 1)[-1] for item in items]


def test_the_newest_blobs_judge_and_those_right_before_train() -> None:
    retrained = _landed(data={"train": {"newest": 3}})

    frozen = retrained.freeze()

    assert (frozen.train_blobs, frozen.test_blobs) == (3, 2)
    assert _names(retrained.manifest()["train"]) == list(DAYS[2:5])
    assert _names(retrained.manifest()["test"]) == list(DAYS[5:])
    assert all(item["etag"] and item["size"] for item in retrained.manifest()["train"])


def test_without_a_number_all_that_does_not_judge_trains() -> None:
    assert _names(_frozen(_landed())["train"]) == list(DAYS[:5])


def _frozen(retrained: Retrained) -> dict[str, Any]:
    retrained.freeze()
    return retrained.manifest()


def test_data_that_were_frozen_stay_frozen() -> None:
    retrained = _landed()
    first = retrained.freeze()

    retrained.land("2026-03-08.parquet")

    assert retrained.freeze() == first and first.manifest.sha256


def test_only_what_the_pattern_means_is_frozen() -> None:
    retrained = _landed(data={"pattern": "2026-03-0[1-4].parquet"})

    assert _names(_frozen(retrained)["test"]) == list(DAYS[2:4])


def test_nothing_to_train_on_is_told_before_anything_is_bought() -> None:
    retrained = Retrained()
    retrained.land(*DAYS[:2])

    with pytest.raises(SpecError, match="none is left to train on"):
        retrained.freeze()


def test_blobs_that_the_champion_knows_are_not_new() -> None:
    older = _landed()
    known = older.freeze()
    newer = Retrained(tag=older.tag)
    newer.crown(inputs=INPUTS, trained_on=known)
    newer.land("2026-03-08.parquet")

    assert older.manifest()["new"] == 7
    assert newer.freeze().new_blobs == 3  # two that judged then, and the new one


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distance": ["1", "2"]}, "distance is string, was double"),
        ({"distance": None, "distanse": [1.0, 2.0]}, "distance (double) is missing; "),
        ({"late": None}, "late is missing"),
    ],
)
def test_a_changed_schema_stops_the_run_with_the_columns_that_differ(
    changes: dict[str, Any], told: str
) -> None:
    retrained = _landed()
    retrained.crown(inputs=INPUTS)
    retrained.land("2026-03-08.parquet", **changes)

    with pytest.raises(SpecError) as refused:
        retrained.freeze()

    assert told in str(refused.value) and "2026-03-08.parquet" in str(refused.value)
    assert "nothing was bought" in str(refused.value)
    assert not blob.exists("muster", f"runs/{retrained.run}/data.json")


def test_columns_that_nobody_needs_may_come_and_go() -> None:
    retrained = _landed()
    retrained.crown(inputs=INPUTS)
    retrained.land("2026-03-08.parquet", weather=["fair", "foul"])

    assert sorted(_frozen(retrained)["schema"]) == ["carrier", "distance", "late"]


def test_without_a_champion_all_blobs_must_have_what_the_first_has() -> None:
    retrained = _landed()
    retrained.land("2026-03-08.parquet", carrier=None)

    with pytest.raises(SpecError, match="carrier"):
        retrained.freeze()


def test_a_column_that_a_slice_or_a_unit_needs_must_be_there() -> None:
    sliced = _landed(gate={"slices": [{"column": "region"}]})
    units = _landed(trials={"unitColumn": "store"})

    with pytest.raises(SpecError, match="region is missing"):
        sliced.freeze()
    with pytest.raises(SpecError, match="store is missing"):
        units.freeze()


def test_a_blob_that_is_no_table_is_named() -> None:
    retrained = _landed()
    blob.create_only("landing", f"{retrained.prefix}2026-03-08.parquet", b"\x80\x04 a pickle")

    with pytest.raises(SpecError, match=r"2026-03-08\.parquet cannot be read"):
        retrained.freeze()


def test_trials_are_planned_once() -> None:
    retrained = _landed()
    first = retrained.plan
    stored = blob.read("muster", first.trials.blob)

    other = retrained.workload.trials.model_copy(update={"count": 9})
    request = retrained.request.model_copy(
        update={"workload": retrained.workload.model_copy(update={"trials": other})}
    )
    again = training.plan_trials(PlanRequest(request=request, data=retrained.data))

    assert again == first and (first.count, first.per_job, first.jobs) == (4, 1, 4)
    assert blob.read("muster", first.trials.blob) == stored
    assert [each["id"] for each in json.loads(stored)] == ["t000", "t001", "t002", "t003"]


def test_absent_training_code_is_told_before_anything_is_bought() -> None:
    retrained = _landed(training={"code": "workloads/nowhere"})

    with pytest.raises(SpecError, match="not in the deployed app"):
        _ = retrained.plan


def test_every_value_of_the_unit_column_is_a_trial() -> None:
    retrained = Retrained({"trials": {"unitColumn": "carrier"}})
    retrained.land(*DAYS[:3])
    retrained.land(*DAYS[3:5], carrier=["B6", None])
    retrained.land(*DAYS[5:], carrier=["ZZ", "ZZ"])  # they judge: nothing is trained on them

    plan = retrained.plan
    assert [each["unit"] for each in blob.read_json("muster", plan.trials.blob)] == ["AA", "B6", "UA"]
    assert (plan.count, plan.per_job, plan.jobs) == (3, 2, 2)


def test_many_units_go_into_few_jobs() -> None:
    retrained = Retrained({"trials": {"unitColumn": "carrier"}})
    units = [f"store-{n:05d}" for n in range(11_000)]
    retrained.land(*DAYS, carrier=units, distance=[1.0] * 11_000, late=[0] * 11_000)

    plan = retrained.plan
    assert (plan.count, plan.per_job, plan.jobs) == (11_000, 25, 440)
    assert len(plan.model_dump_json()) < 1000
    job = _job(retrained, 439)
    assert [each["value"] for each in job["units"]] == units[-25:] and job["unitColumn"] == "carrier"


def _job(retrained: Retrained, index: int, **which: int) -> dict[str, Any]:
    written = training.write_train_job(retrained.job(index, **which))
    assert written.job is not None
    found: dict[str, Any] = blob.read_json(written.job.job.container, written.job.job.blob)
    return found


def test_a_job_says_all_that_the_agent_asks_for() -> None:
    from node.train_job import parse_train_job

    retrained = _landed()
    told = json.dumps(_job(retrained, 2)).encode()

    job = parse_train_job(told, json.loads(told)["account_url"])
    assert [trial.id for trial in job.trials] == ["t002"] and job.head.job == "t002-e1"
    assert 0 <= float(job.parameters["rate"]) <= 1
    assert (job.timeout_s, job.data.sha256) == (300, retrained.data.manifest.sha256)
    assert job.code.entry == "train.py" and blob.exists("muster", job.code.source.blob)


def test_a_job_of_units_says_all_that_the_agent_asks_for() -> None:
    from node.train_job import parse_train_job

    retrained = _landed(trials={"unitColumn": "carrier"})
    told = json.dumps(_job(retrained, 0)).encode()

    job = parse_train_job(told, json.loads(told)["account_url"])
    assert [(trial.id, trial.unit) for trial in job.trials] == [("t000", "AA")]
    assert job.unit_column == "carrier" and job.workers == 2


def test_a_trial_with_a_record_is_not_trained_again() -> None:
    retrained = _landed()
    retrained.record("t001")

    assert training.write_train_job(retrained.job(1, epoch=2)).job is None
    assert training.write_train_job(retrained.job(2, epoch=2)).job is not None


def test_only_the_units_without_a_record_are_trained_again() -> None:
    retrained = Retrained({"trials": {"unitColumn": "carrier"}})
    retrained.land(*DAYS, carrier=["AA", "UA", "B6", "ZZ"], distance=[1.0] * 4, late=[0] * 4)
    assert len(_job(retrained, 0)["units"]) == 2

    retrained.record("t000")

    assert [each["id"] for each in _job(retrained, 0, attempt=2)["units"]] == ["t001"]


def test_results_are_counted_and_the_best_is_the_one_of_the_declared_goal() -> None:
    for goal, best in (("maximize", "t002"), ("minimize", "t000")):
        retrained = _landed(trials={"goal": goal})
        for trial, metric in (("t000", 0.6), ("t001", None), ("t002", 0.8)):
            retrained.record(trial, metric)

        results = retrained.results()
        assert (results.valid, results.failed, results.missing) == (2, 1, 1)
        assert results.best is not None and results.best.trial == best
        assert [each.reason for each in results.shown] == [
            "",
            "exit code 1",
            "",
            "no record: cut off or never begun",
        ]


def test_each_trial_is_told_with_what_it_cost() -> None:
    retrained = _landed()
    retrained.record("t000", seconds=100.0)

    (first, *_) = retrained.results().shown
    assert first.usd == pytest.approx(0.01)


@pytest.mark.parametrize("metrics", [{}, {"auc": "0.9"}, {"auc": True}, {"auc": None}, {"accuracy": 0.9}])
def test_a_trial_without_the_metric_is_no_valid_one(metrics: dict[str, Any]) -> None:
    retrained = _landed()
    retrained.record("t000", 0.9, metrics=metrics)

    results = retrained.results()
    assert (results.valid, results.failed, results.best) == (0, 1, None)
    assert "no finite auc" in results.shown[0].reason


def test_of_equal_trials_the_first_is_chosen() -> None:
    retrained = _landed()
    for trial in ("t003", "t001", "t002"):
        retrained.record(trial, 0.7)

    best = retrained.results().best
    assert best is not None and best.trial == "t001"


def test_results_of_a_thousand_trials_fit_a_history() -> None:
    retrained = _landed(trials={"count": 300, "space": {f"p{n}": {"uniform": [0, 1]} for n in range(30)}})
    retrained.record("t007", 0.9)
    retrained.record("t008", None, reason="x" * 5000)

    results = retrained.results()
    assert len(results.model_dump_json()) < 8000
    assert {"t007", "t008"} & {each.trial for each in results.shown} == {"t007"}
    assert results.table is not None and len(blob.read_json("muster", results.table.blob)) == 300
