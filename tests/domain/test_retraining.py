"""A retraining is declared whole, or refused with every fault: where, what, what is allowed, what to do."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import jsonschema
import pytest
import yaml

from shared.domain.errors import Fault, SpecErrors
from shared.domain.retraining import MAX_TRIALS, Retraining, grid_size
from shared.domain.workload import parse_workload, workload_schema

PLATFORMS = ("amlcompute", "dsvm")

WHOLE = """\
kind: Retraining
name: flights-retrain
schedule: null
trigger: {monitor: flights-monitor, threshold: 0.3, hysteresis: 0.05, coolDown: PT24H, dailyCap: 4, readyWithin: P2D}
data: {container: landing, prefix: flights/, pattern: "*.parquet", train: {newest: 120}, test: {newest: 30}, label: late,
  minNewBlobs: 7}
model: {name: flights-delay}
training: {code: workloads/flights_training, entry: train.py}
trials:
  sampling: random
  seed: 7
  count: 8
  concurrency: 4
  space: {learning_rate: {logUniform: [0.02, 0.3]}, max_leaf_nodes: {choice: [15, 31, 63]}, l2: {uniform: [0, 1]}}
  timeout: PT30M
  minValid: 5
  metric: auc
  goal: maximize
gate: {metric: auc, goal: maximize, minGain: 0.0, confidence: 0.95, minRows: 1000,
  slices: [{column: carrier, maxLoss: 0.02, minRows: 200}], firstModel: {min: 0.6}}
compute: {platform: amlcompute, sizes: [Standard_D2s_v5], regions: [westeurope], priority: spot-then-dedicated,
  instances: 4}
limits: {deadline: PT3H, ttl: PT4H, budgetUsd: 5}
deploy: {workload: flights-live}
"""

SHORT = """\
kind: Retraining
name: flights-retrain
data: {container: landing, prefix: flights/, test: {newest: 30}, label: late}
model: {name: flights-delay}
training: {code: workloads/flights_training}
trials: {count: 8, space: {l2: {uniform: [0, 1]}}}
compute: {platform: amlcompute}
"""
ABSENT = object()


def parse(text: str) -> Retraining:
    workload = parse_workload(text, source="w.yaml", platforms=PLATFORMS)
    assert isinstance(workload, Retraining)
    return workload


def faults_of(text: str) -> list[Fault]:
    with pytest.raises(SpecErrors) as refused:
        parse(text)
    return list(refused.value.faults)


def changed(path: str, value: object, base: str = WHOLE) -> str:
    """The declaration with the value at `path` replaced, or gone."""
    data = yaml.safe_load(base)
    *parents, last = path.split(".")
    part: Any = data
    for key in parents:
        part = part[key]
    if value is ABSENT:
        del part[last]
    else:
        part[last] = value
    return yaml.safe_dump(data, sort_keys=False)


def units(**changes: object) -> str:
    """One model per unit."""
    data = yaml.safe_load(SHORT)
    data["trials"] = {"unitColumn": "carrier", **changes}
    return yaml.safe_dump(data)


def test_a_whole_declaration_is_read() -> None:
    workload = parse(WHOLE)

    assert workload.trigger is not None and workload.trigger.cool_down == timedelta(days=1)
    assert workload.data.train is not None
    assert (workload.data.train.newest, workload.data.test.newest, workload.data.min_new_blobs) == (
        120,
        30,
        7,
    )
    assert workload.trials.space["max_leaf_nodes"].choice == (15, 31, 63)
    assert workload.trials.space["learning_rate"].log_uniform == (0.02, 0.3)
    assert workload.gate.slices[0].max_loss == 0.02
    assert workload.gate.first_model is not None and workload.gate.first_model.min == 0.6
    assert workload.deploy is not None and workload.deploy.workload == "flights-live"


def test_a_short_declaration_suffices_and_lets_no_model_in_by_default() -> None:
    workload = parse(SHORT)

    assert workload.trigger is None and workload.schedule is None
    assert workload.gate.first_model is None and workload.gate.min_gain == 0
    assert workload.gate.confidence == 0.95 and workload.gate.min_rows >= 1000
    assert workload.trials.goal == "maximize" and workload.trials.min_valid == 1


@pytest.mark.parametrize("text", [WHOLE, SHORT, units()])
@pytest.mark.parametrize("by_alias", [True, False])
def test_it_comes_back_from_a_history_as_it_was(text: str, by_alias: bool) -> None:
    workload = parse(text)
    wire = json.loads(json.dumps(workload.model_dump(mode="json", by_alias=by_alias)))

    assert Retraining.model_validate(wire) == workload
    assert Retraining.model_validate({**wire, "newInV9": 1}) == workload


def test_a_choice_keeps_what_kind_each_value_is() -> None:
    workload = parse(changed("trials.space.l2", {"choice": [1, 1.5, "one", True]}))

    values = workload.trials.space["l2"].choice
    wire = json.loads(json.dumps(workload.model_dump(mode="json")))
    again = Retraining.model_validate(wire).trials.space["l2"].choice
    assert values is not None and again is not None
    assert [type(each) for each in values] == [type(each) for each in again] == [int, float, str, bool]


@pytest.mark.parametrize("text", [WHOLE, SHORT, units()])
def test_an_editor_takes_what_the_parser_takes(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), workload_schema(PLATFORMS))


def test_every_fault_is_told_at_once_with_its_place_and_remedy() -> None:
    faults = faults_of(
        """\
kind: Retraining
name: flights-retrain
trigger: {monitr: m, threshold: true}
data: {container: landing, prefix: flights/, test: {newest: 0}, label: late}
model: {name: flights-delay}
training: {code: ../secrets}
trials: {count: 8, space: {l2: {unifrom: [0, 1]}, data: {choice: [1]}}, minValid: 9}
gate: {slices: [{colum: carrier}], metric: f1}
compute: {platform: amlcompute}
"""
    )
    told = {fault.path: (fault.line, fault.hint) for fault in faults}
    assert told["trigger.monitr"] == (3, "Did you mean monitor?")
    assert told["trials.space.l2.unifrom"] == (7, "Did you mean uniform?")
    assert told["gate.slices[0].colum"] == (8, "Did you mean column?")
    assert {"trigger.monitor", "trigger.threshold", "data.test.newest", "training.code", "trials.space.data",
            "gate.slices[0].column", "gate.metric"} <= told.keys()  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "blamed"),
    [
        ("trials.space.l2", {"choice": []}, "trials.space.l2.choice"),
        ("trials.space.l2", {"choice": [1, 1]}, "trials.space.l2.choice"),
        ("trials.space.l2", {"choice": [None]}, "trials.space.l2.choice"),
        ("trials.space.l2", {"choice": ["a\nb"]}, "trials.space.l2.choice"),
        ("trials.space.l2", {"uniform": [1]}, "trials.space.l2.uniform"),
        ("trials.space.l2", {"uniform": [1, "2"]}, "trials.space.l2.uniform"),
        ("trials.space.l2", {"uniform": [True, 2]}, "trials.space.l2.uniform"),
        ("trials.space.l2", {"uniform": [2, 1]}, "trials.space.l2.uniform"),
        ("trials.space.l2", {"uniform": [1, 1]}, "trials.space.l2.uniform"),
        ("trials.space.l2", {"logUniform": [0, 1]}, "trials.space.l2.logUniform"),
        ("trials.space.l2", {"quniform": [0, 1, 0]}, "trials.space.l2.quniform"),
        ("trials.space.l2", {"quniform": [0, 1, 2]}, "trials.space.l2.quniform"),
        ("trials.space.l2", {"quniform": [0, 1, 1e-9]}, "trials.space.l2.quniform"),
        ("trials.space.l2", {"uniform": [0, 1], "choice": [1]}, "trials.space.l2"),
        ("trials.space.l2", {}, "trials.space.l2"),
        ("trials.space.l2", 5, "trials.space.l2"),
        ("trials.space.a-b", {"choice": [1]}, "trials.space.a-b"),
        ("trials.space.checkpoint", {"choice": [1]}, "trials.space.checkpoint"),
        ("trials.space", {}, "trials"),
        ("trials.space", ABSENT, "trials"),
        ("trials.unitColumn", "carrier", "trials.unitColumn"),
        ("trials.count", ABSENT, "trials"),
        ("trials.count", 10_001, "trials.count"),
        ("trials.sampling", "grid", "trials.count"),
        ("trials.sampling", "bayes", "trials.sampling"),
        ("trials.minValid", 9, "trials.minValid"),
        ("trials.concurrency", 33, "trials.concurrency"),
        ("trials.timeout", "P1D", "limits"),
        ("gate.slices", [{"column": "a"}, {"column": "a"}], "gate.slices"),
        ("gate.firstModel", {}, "gate.firstModel.min"),
        ("gate.minGain", -0.1, "gate.minGain"),
        ("gate.confidence", 1, "gate.confidence"),
        ("trigger.hysteresis", 0.5, "trigger.hysteresis"),
        ("trigger.threshold", ABSENT, "trigger.hysteresis"),
        ("data.prefix", "", "data.prefix"),
        ("training.entry", "train.sh", "training.entry"),
    ],
)
def test_a_fault_blames_the_part_that_is_wrong(path: str, value: object, blamed: str) -> None:
    (fault,) = faults_of(changed(path, value))
    assert fault.path == blamed
    assert fault.line is not None


def test_a_default_deadline_is_held_against_the_trials_too() -> None:
    (fault,) = faults_of(changed("trials.timeout", "P2D", SHORT))

    assert fault.path == "limits" and "trials.timeout" in fault.message


def test_a_grid_is_as_large_as_its_points_and_no_larger_than_allowed() -> None:
    def grid(*sizes: int) -> str:
        space = {f"p{n}": {"choice": list(range(size))} for n, size in enumerate(sizes)}
        data = yaml.safe_load(SHORT)
        data["trials"] = {"sampling": "grid", "space": space}
        return yaml.safe_dump(data)

    assert grid_size(parse(grid(2, 3, 4)).trials.space) == 24
    (fault,) = faults_of(grid(1000, 11))
    assert f"{MAX_TRIALS:,}" in (fault.allowed or "")


def test_a_grid_needs_values_it_can_walk_through() -> None:
    data = yaml.safe_load(SHORT)
    data["trials"] = {"sampling": "grid", "space": {"l2": {"uniform": [0, 1]}}}

    (fault,) = faults_of(yaml.safe_dump(data))
    assert "l2" in fault.message


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [({"count": 3}, "trials.count"), ({"space": {"l2": {"choice": [1]}}}, "trials.unitColumn")],
)
def test_units_leave_nothing_to_sample(changes: dict[str, Any], blamed: str) -> None:
    assert parse(units()).trials.unit_column == "carrier"
    assert blamed in [fault.path for fault in faults_of(units(**changes))]


BANDIT = {"type": "bandit", "slackFactor": 0.1, "evaluationInterval": 2, "delayEvaluation": 5}


def sweep(**changes: object) -> str:
    """WHOLE with its search left to Azure ML; `changes` of its trials, or of `platform`."""
    data = yaml.safe_load(WHOLE)
    data["compute"]["platform"] = changes.pop("platform", "amlcompute")
    data["trials"] |= {"engine": "sweep", **changes}
    return yaml.safe_dump({**data, "trials": {k: v for k, v in data["trials"].items() if v is not ABSENT}})


def test_azure_ml_may_run_the_search() -> None:
    policy = parse(sweep(earlyTermination=BANDIT)).trials.early_termination

    assert policy is not None and (policy.type, policy.slack_factor) == ("bandit", 0.1)
    assert (policy.evaluation_interval, policy.delay_evaluation) == (2, 5)
    assert parse(sweep(sampling="bayesian", space={"l2": {"uniform": [0, 1]}})).trials.engine == "sweep"
    assert parse(sweep(sampling="grid", count=ABSENT, minValid=1, space={"l2": {"choice": [1, 2]}}))
    jsonschema.validate(yaml.safe_load(sweep(earlyTermination=BANDIT)), workload_schema(PLATFORMS))
    assert "engine" not in parse(WHOLE).trials.model_dump()  # as a history from before has it


@pytest.mark.parametrize(
    ("changes", "blamed", "words"),
    [
        ({"platform": "dsvm"}, "compute", "amlcompute"),
        ({"engine": "jobs", "sampling": "bayesian"}, "trials.sampling", "engine: sweep"),
        ({"engine": "jobs", "earlyTermination": BANDIT}, "trials.earlyTermination", "engine: sweep"),
        ({"engine": "sweeps"}, "trials.engine", "sweep"),
        ({"sampling": "bayesian"}, "trials", "learning_rate (logUniform)"),
        (
            {"sampling": "bayesian", "space": {"l2": {"uniform": [0, 1]}}, "earlyTermination": BANDIT},
            "trials.earlyTermination",
            "bayesian",
        ),
        ({"space": ABSENT, "count": ABSENT, "unitColumn": "carrier"}, "trials.unitColumn", "engine: sweep"),
        ({"count": 1001}, "trials.count", "1 to 1000"),
        ({"earlyTermination": {"type": "bandit"}}, "trials.earlyTermination", "no slack"),
        (
            {"earlyTermination": {**BANDIT, "slackAmount": 0.1}},
            "trials.earlyTermination",
            "one of slackFactor, slackAmount",
        ),
        (
            {"earlyTermination": {"type": "median_stopping", "slackFactor": 0.1}},
            "trials.earlyTermination",
            "goes with bandit",
        ),
        ({"earlyTermination": {"type": "truncation_selection"}}, "trials.earlyTermination", "1 to 99"),
        (
            {"earlyTermination": {**BANDIT, "truncationPercentage": 20}},
            "trials.earlyTermination.truncationPercentage",
            "not with bandit",
        ),
    ],
)
def test_a_search_that_azure_ml_cannot_run_is_refused(
    changes: dict[str, Any], blamed: str, words: str
) -> None:
    (fault,) = faults_of(sweep(**changes))

    assert fault.path == blamed
    assert words in str(fault)


def test_faults_of_a_search_are_told_at_once() -> None:
    policy = {"type": "bandits", "evaluationInterval": 0}
    faults = faults_of(sweep(sampling="bayesian", count=5000, earlyTermination=policy))

    told = {fault.path for fault in faults}
    assert {"trials", "trials.count", "trials.earlyTermination.type"} <= told
    assert "trials.earlyTermination.evaluationInterval" in told
