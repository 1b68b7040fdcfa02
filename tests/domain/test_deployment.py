"""A deployment is declared whole, or refused with every fault: where, what, what is allowed, what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import names
from shared.domain.deploy import (
    FUNCTION_KEY,
    Approval,
    ApprovalRequest,
    DeployRequest,
    fault_of,
    policy_digest,
)
from shared.domain.deployment import Deployment, Resources
from shared.domain.errors import Fault, SpecErrors
from shared.domain.registry import ModelRef
from shared.domain.serving import DeploymentPlan, TrafficChange
from shared.domain.spec import schema_of
from shared.domain.workload import _KINDS, parse_workload, workload_schema

WHOLE = """\
kind: Deployment
name: flights-live
model: {name: flights-delay}
requireLineage: true
target: {platform: aks, endpoint: flights-live, compute: aks-prod, authMode: key}
resources: {instanceType: defaultinstancetype, instances: 1, cpu: "1", memory: 2Gi, gpu: 0, maxConcurrent: 1,
  requestTimeout: PT5S}
scoring: {code: workloads/flights_serving, entry: score.py}
tests:
  golden: workloads/flights_golden.jsonl
  load: {requests: 100, concurrency: 4, p95: PT0.25S, maxErrorRate: 0}
rollout: {steps: [5, 25, 50, 100], bake: PT10M, minRequests: 50, max5xxRate: 0.01, maxP95RegressionPct: 20,
  maxPredictionDrift: 0.2, failureLimit: 1, inconclusiveAfter: PT30M, onInconclusive: pause, hold: PT24H,
  keepFailed: PT30M, stageDeadline: PT30M}
approval: {required: true, timeout: PT4H, onTimeout: reject, fourEyes: true}
onModelRegistered: false
limits: {deadline: PT6H, budgetUsd: 5}
"""
SHORT = """\
kind: Deployment
name: flights-live
model: {name: flights-delay}
target: {platform: aks, endpoint: flights-live, compute: aks-prod}
"""
CLUSTER = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/muster/providers/" + (
    "Microsoft.ContainerService/managedClusters/aks-prod"
)
ABSENT = object()


def parse(text: str) -> Deployment:
    workload = parse_workload(text, source="w.yaml", platforms=("dsvm",))
    assert isinstance(workload, Deployment)
    return workload


def changed(path: str, value: Any) -> str:
    """WHOLE with one value changed, added or taken away."""
    data = yaml.safe_load(WHOLE)
    at: Any = data
    *parents, last = path.split(".")
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
    if value is ABSENT:
        del at[last]
    return json.dumps(data)


def faults_of(text: str) -> tuple[Fault, ...]:
    with pytest.raises(SpecErrors) as caught:
        parse(text)
    return caught.value.faults


def test_a_whole_declaration_is_read_as_it_stands() -> None:
    read = parse(WHOLE)
    assert read.rollout.steps == (5, 25, 50, 100) and read.rollout.max_5xx_rate == 0.01
    assert read.tests.load.p95 == timedelta(milliseconds=250) and read.approval.four_eyes
    assert read.limits.deadline == timedelta(hours=6) and read.limits.budget_usd == 5
    assert Deployment.model_validate_json(read.model_dump_json()) == read


def test_a_short_declaration_asks_a_person_and_goes_up_in_steps() -> None:
    read = parse(SHORT)
    assert read.approval.required and read.require_lineage and not read.on_model_registered
    assert read.rollout.steps == (5, 25, 50, 100) and read.rollout.on_inconclusive == "pause"
    assert read.model.version == "champion" and read.schedule is None


def test_the_schema_takes_what_the_parser_takes() -> None:
    schema = workload_schema(("dsvm",))
    for text in (WHOLE, SHORT):
        jsonschema.validate(yaml.safe_load(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(SHORT), "rollouts": {}}, schema)


def test_no_two_kinds_have_parts_of_one_name_in_the_schema() -> None:
    """Definitions are merged by name: of two that differ one would be lost."""
    merged: dict[str, Any] = {}
    for kind in _KINDS.values():
        for name, part in schema_of([kind])["$defs"].items():
            assert merged.setdefault(name, part) == part, name


GOOD = [
    ("target", {"platform": "managed_endpoint", "endpoint": "live"}, {"instanceType": "Standard_DS3_v2"}),
    ("target", {"platform": "local", "endpoint": "live"}, {}),
    ("target", {"platform": "aks", "endpoint": "live", "compute": "aks", "attach": {"clusterId": CLUSTER}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "target", "resources"), GOOD)
def test_every_platform_has_its_own_target(
    path: str, target: dict[str, Any], resources: dict[str, Any]
) -> None:
    data = {**yaml.safe_load(SHORT), path: target, "resources": resources}
    assert parse(json.dumps(data)).target.platform == target["platform"]


BAD = [
    ("target.platform", "eks", "target.platform", "aks, local, managed_endpoint"),
    ("target.compute", ABSENT, "target", "the name under which"),
    ("target.compute", "a-name-of-17-chars", "target.compute", "2 to 16"),
    ("target.endpoint", "Flights", "target.endpoint", "3 to 32 small letters"),
    ("target.endpoint", "ab", "target.endpoint", "3 to 32 small letters"),
    ("target.endpoint", "a" * 33, "target.endpoint", "at most 32"),
    ("target.endpoint", "ends-with-", "target.endpoint", "3 to 32"),
    ("target.attach", {"clusterId": "/subscriptions/x"}, "target.attach.clusterId", "ARM id"),
    ("resources.cpu", 1, "resources.cpu", "quotes"),
    ("resources.memory", "2GB", "resources.memory", "512Mi"),
    ("resources.requestTimeout", "PT181S", "resources.requestTimeout", "PT180S"),
    ("resources.instances", 0, "resources.instances", "at least 1"),
    ("scoring.entry", "../x.py", "scoring.entry", "Python file"),
    ("tests.golden", "/etc/passwd.jsonl", "tests.golden", "relative"),
    ("tests.load.p95", "PT10S", "tests", "requestTimeout"),
    ("tests.load.p95", 0.25, "tests.load.p95", "PT0.25S"),
    ("rollout.steps", [5, 25, 50], "rollout.steps", "the last 100"),
    ("rollout.steps", [25, 5, 100], "rollout.steps", "strictly rising"),
    ("rollout.steps", [50, 50, 100], "rollout.steps", "strictly rising"),
    ("rollout.steps", [0, 100], "rollout.steps", "strictly rising"),
    ("rollout.steps", [5, 100, 150], "rollout.steps", "the last 100"),
    ("rollout.steps", [True, 100], "rollout.steps", "whole percentages"),
    ("rollout.steps", [], "rollout.steps", "1 to 20"),
    ("rollout.steps", "100", "rollout.steps", "1 to 20"),
    ("rollout.bake", "PT30S", "rollout.bake", "PT1M"),
    ("rollout.inconclusiveAfter", "PT14M", "rollout.inconclusiveAfter", "PT15M or more"),
    ("rollout.max5xxRate", 1.5, "rollout.max5xxRate", "at most 1"),
    ("rollout.maxPredictionDrift", 0.0, "rollout.maxPredictionDrift", "more than 0"),
    ("rollout.failureLimit", 0, "rollout.failureLimit", "at least 1"),
    ("rollout.onInconclusive", "promote", "rollout.onInconclusive", "pause, rollback"),
    ("approval.onTimeout", "approve", "approval.onTimeout", "reject"),
    ("approval.required", "no", "approval.required", None),
    ("environment", {"name": "serving"}, "environment", "both or neither"),
    ("environment", {"name": "serving", "version": "latest"}, "environment", "number of a version"),
    ("environment", {"image": "mcr.example/x:latest"}, "environment.image", "digest"),
    ("limits.deadline", "PT5H", "limits", "PT5H10M"),
    ("schedule", {"cron": "0 2 * * *"}, "schedule", None),
]


@pytest.mark.parametrize(("path", "value", "blamed", "told"), BAD)
def test_a_wrong_value_is_refused_at_its_place(path: str, value: Any, blamed: str, told: str | None) -> None:
    found = faults_of(changed(path, value))
    assert [fault.path for fault in found] == [blamed]
    assert told is None or told in str(found[0])


@pytest.mark.parametrize(
    ("target", "resources", "blamed"),
    [
        ({"platform": "managed_endpoint", "endpoint": "live", "compute": "aks"}, {}, "target.compute"),
        ({"platform": "local", "endpoint": "live", "attach": {"clusterId": CLUSTER}}, {}, "target.attach"),
        ({"platform": "managed_endpoint", "endpoint": "live"}, {}, "resources"),
        ({"platform": "managed_endpoint", "endpoint": "live"}, {"instanceType": "gpu"}, "resources"),
        ({"platform": "local", "endpoint": "live"}, {"gpu": 1}, "resources"),
    ],
)
def test_what_a_platform_cannot_do_is_refused(target: Any, resources: Any, blamed: str) -> None:
    data = {**yaml.safe_load(SHORT), "target": target, "resources": resources}
    assert [fault.path for fault in faults_of(json.dumps(data))] == [blamed]


F2, F4 = "Standard_F2s_v2", "Standard_F4s_v2"


@pytest.mark.parametrize(
    ("platform", "profile", "told"),
    [
        ("managed_endpoint", {"instanceTypes": ["gpu"]}, "is no size"),
        ("managed_endpoint", {"instanceTypes": [{"instanceType": F2, "cpu": "2"}]}, "Name another size"),
        ("managed_endpoint", {"instanceTypes": [F2], "usdPerHour": {F2: 0.1}}, "is known"),
        ("managed_endpoint", {"instanceTypes": [F2, {"instanceType": F2}]}, "there twice"),
        ("managed_endpoint", {"instanceTypes": [F2, {}]}, "changes nothing"),
        ("managed_endpoint", {"instanceTypes": []}, "at least 1"),
        ("managed_endpoint", {"instanceTypes": [F2], "load": {"p95": "PT6S"}}, "resources.requestTimeout"),
        ("managed_endpoint", {"instanceTypes": [F2], "load": {"concurrency": [4, 1]}}, "strictly rising"),
        ("managed_endpoint", {"instanceTypes": [F2], "load": {"requests": 3}}, "only 3 requests"),
        ("managed_endpoint", {"instanceTypes": [F2], "deadline": "PT3H"}, "profile.deadline + rollout"),
        ("aks", {"instanceTypes": ["small", "gpu"], "usdPerHour": {"gpu": 1.2}}, "what small costs"),
        ("local", {"instanceTypes": [F2]}, "no instance types"),
    ],
)
def test_a_profile_that_cannot_be_measured_or_compared_is_refused(
    platform: str, profile: dict[str, Any], told: str
) -> None:
    (fault,) = faults_of(profiled(platform, profile))
    assert told in str(fault) and fault.path.startswith(("profile", "limits"))


def profiled(platform: str, profile: dict[str, Any]) -> str:
    data = yaml.safe_load(SHORT)
    data["target"] = {
        "platform": platform,
        "endpoint": "live",
        **({"compute": "aks"} if platform == "aks" else {}),
    }
    return json.dumps({**data, "resources": {"instanceType": F2, "maxConcurrent": 4}, "profile": profile})


def test_a_candidate_changes_what_it_names_and_no_more() -> None:
    prices = {"usdPerHour": {"gpu": 1.2, F2: 0.1}}
    text = profiled("aks", {"instanceTypes": ["gpu", {"cpu": "500m", "instances": 2}], **prices})
    workload = parse(text)
    assert workload.profile is not None and workload.takes_recommended
    assert [str(each) for each in workload.profile.instance_types] == ["gpu", "instances 2, cpu 500m"]
    gpu, half = (workload.sized(each).resources for each in workload.profile.instance_types)
    assert gpu == workload.resources.model_copy(update={"instance_type": "gpu"})
    assert (half.instance_type, half.instances, half.cores, half.max_concurrent) == (F2, 2, 0.5, 4)


@pytest.mark.parametrize(
    ("cpu", "at_once", "vcpus", "workers"),
    [("1", 8, 0, 1), ("4", 8, 0, 4), ("4", 2, 0, 2), ("500m", 8, 0, 1), ("1.9", 8, 0, 1), ("1", 8, 4, 4)],
)  # fmt: skip
def test_a_server_has_a_process_for_each_core_that_requests_may_use(
    cpu: str, at_once: int, vcpus: int, workers: int
) -> None:
    assert Resources(cpu=cpu, max_concurrent=at_once).workers(vcpus) == workers


def test_every_fault_is_told_at_once() -> None:
    text = WHOLE.replace("steps: [5, 25, 50, 100]", "steps: [5]").replace("memory: 2Gi", "memory: lots")
    text = text.replace("name: flights-delay", "name: flights delay").replace("approval:", "aproval:")
    assert [fault.path for fault in faults_of(text)] == [
        "model.name", "resources.memory", "rollout.steps", "aproval",
    ]  # fmt: skip


RUN = names.deploy_run_id("flights-live", "key-0123456789abcdef")


@given(
    st.from_regex(r"[a-z][a-z0-9-]{1,38}[a-z0-9]", fullmatch=True),
    st.from_regex(r"(key|manual|event)-[0-9a-f]{16}", fullmatch=True),
)
def test_a_deployment_s_runs_belong_to_its_workload(workload: str, slot: str) -> None:
    run = names.deploy_run_id(workload, slot)
    back = names.rollback_run_id(run)
    for each in (run, back):
        assert names.is_run_id(each) and names.is_run_of(each, workload)
        assert not names.is_run_of(each, f"{workload}x")
    deployed = names.deployment_name(run)
    assert deployed == names.deployment_name(run) and len(deployed) == 9 and deployed[0] == "d"


def plan(**changes: Any) -> DeploymentPlan:
    model = ModelRef(
        name="flights-delay", version="2", flavor="sklearn", container="models", prefix="flights-delay/2/",
        file="model.joblib", sha256="ab" * 32,
    )  # fmt: skip
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    whole: dict[str, Any] = {
        "target": parse(SHORT).target,
        "name": names.deployment_name(RUN),
        "run": RUN,
        "epoch": 3,
    }
    return DeploymentPlan(**{**whole, "deadline": at, "model": model, **changes})


def test_a_deployment_carries_the_tags_of_everything_that_bills() -> None:
    assert plan().tags("muster") == {
        "muster-app": "muster",
        "muster-lease": names.serving_lease_id(RUN),
        "muster-owner": RUN,
        "muster-deadline": "2026-03-01T12:00:00Z",
        "muster-epoch": "3",
        "muster-managed-by": "muster",
        "muster-model": "flights-delay:2",
        "muster-model-sha256": "ab" * 32,
    }


def test_a_plan_s_digest_is_of_what_is_made_not_of_who_makes_it() -> None:
    assert plan().digest == plan(run="other", name="d12345678", epoch=9).digest
    assert plan().digest != plan(entry="other.py").digest
    assert plan().digest != plan(collect="https://musterdev.blob.core.windows.net/modeldata").digest


@pytest.mark.parametrize(
    "weights", [{}, {"a": 0}, {"a": 50}, {"a": 101}, {"a": 150, "b": -50}, {"a": 100, "b": 100}]
)
def test_no_map_that_does_not_serve_everybody_can_be_written(weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="does not sum to 100"):
        TrafficChange(platform="aks", endpoint="live", weights=weights, epoch=1, run=RUN)


def test_traffic_is_taken_away_only_from_what_was_never_live() -> None:
    change = {"platform": "aks", "endpoint": "live", "epoch": 1, "run": RUN, "clears": True}
    assert TrafficChange.model_validate({**change, "weights": {"a": 0}}).weights == {"a": 0}
    with pytest.raises(ValueError, match="does not sum to 0"):
        TrafficChange.model_validate({**change, "weights": {"a": 100}})


ASKED = ApprovalRequest(
    run=RUN, endpoint="live", platform="aks", deployment="d12345678", model="flights-delay:2", model_sha256="ab" * 32,
    environment="cd" * 32, blue="d87654321", steps=(5, 100), policy_sha256="ef" * 32,
    asked=datetime(2026, 3, 1, 12, tzinfo=UTC), expires=datetime(2026, 3, 1, 16, tzinfo=UTC), requested_by="bert",
)  # fmt: skip


def given_by(by: str = "anna", **changes: Any) -> Approval:
    at = ASKED.asked + timedelta(hours=1)
    return Approval.model_validate(
        {"decision": "approve", "by": by, "at": at, "digest": ASKED.digest, **changes}
    )


def test_an_approval_by_another_in_time_of_just_this_counts() -> None:
    assert fault_of(given_by(), ASKED) == ""


@pytest.mark.parametrize(
    ("approval", "asked", "why"),
    [
        (given_by("bert"), ASKED, "the requester cannot"),
        (given_by(FUNCTION_KEY), ASKED, "sign in"),
        (given_by(""), ASKED, "sign in"),
        (given_by(at=ASKED.expires), ASKED, "came after"),
        (given_by(digest="00" * 32), ASKED, "something else"),
        (given_by(), ASKED.model_copy(update={"requested_by": FUNCTION_KEY}), "nobody can tell who asked"),
    ],
)
def test_an_approval_that_does_not_count_says_why(
    approval: Approval, asked: ApprovalRequest, why: str
) -> None:
    asked_digest = asked.digest
    if approval.digest == ASKED.digest:
        approval = approval.model_copy(update={"digest": asked_digest})
    assert why in fault_of(approval, asked)


def test_anybody_may_reject_and_two_eyes_do_where_four_are_not_asked_for() -> None:
    assert fault_of(given_by("bert", decision="reject"), ASKED) == ""
    two = ASKED.model_copy(update={"four_eyes": False})
    assert fault_of(given_by("bert", digest=two.digest), two) == ""


BOUND = {
    "run": "other", "number": 1, "endpoint": "other", "platform": "local", "deployment": "d00000000",
    "model": "flights-delay:3", "model_sha256": "00" * 32, "environment": "00" * 32, "blue": "", "steps": (100,),
    "policy_sha256": "00" * 32, "step": 2, "expires": ASKED.expires + timedelta(hours=1),
}  # fmt: skip


@pytest.mark.parametrize("field", BOUND)
def test_an_approval_binds_model_environment_traffic_plan_endpoint_and_time(field: str) -> None:
    other = ASKED.model_copy(update={field: BOUND[field]})
    assert "something else" in fault_of(given_by(), other)


def test_a_policy_s_digest_changes_with_every_step_and_limit() -> None:
    changes = [("rollout.steps", [100]), ("rollout.max5xxRate", 0.5), ("tests.load.maxErrorRate", 0.5),
               ("approval.fourEyes", False), ("target.endpoint", "other")]  # fmt: skip
    digests = {policy_digest(parse(changed(*change))) for change in changes} | {policy_digest(parse(WHOLE))}
    assert len(digests) == len(changes) + 1
    assert policy_digest(parse(changed("limits.budgetUsd", 9))) == policy_digest(parse(WHOLE))


def test_a_request_says_what_it_makes_before_it_is_made() -> None:
    request = DeployRequest(
        run=RUN, slot="key-0123456789abcdef", workload=parse(WHOLE), started_by="http:anna"
    )
    assert request.green == names.deployment_name(RUN) and str(request.model.version) == "champion"
    assert len(request.model_dump_json()) < 4_000
