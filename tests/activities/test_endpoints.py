"""The fence on real storage: whoever races for an endpoint, one has it; what is written late is refused."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities import approvals, endpoints
from shared.azure import approval_records, blob, collected, endpoint_records, ledger
from shared.config import settings
from shared.domain.deploy import (
    Approval,
    ApprovalQuery,
    ApprovalRequest,
    DeploymentRef,
    DeployOutcome,
    DeployState,
    EndpointRecord,
    FreeRequest,
    HoldRequest,
    LastGood,
)
from shared.domain.deployment import Rollout
from shared.domain.errors import ConflictError
from shared.domain.judging import StepQuery
from shared.domain.serving import FENCED, EndpointLook, TrafficChange
from shared.domain.tending import Chore
from tests.support.cloud import Cloud


@pytest.fixture
def endpoint(cloud: Cloud) -> str:
    return f"e-{uuid.uuid4().hex[:8]}"


def _ask(cloud: Cloud, endpoint: str, run: str) -> HoldRequest:
    now = cloud.clock.now()
    return HoldRequest(
        endpoint=endpoint, platform="aks", workload="w", run=run, at=now, deadline=now + timedelta(hours=1)
    )


def test_of_those_who_race_for_an_endpoint_one_holds_it(cloud: Cloud, endpoint: str) -> None:
    asked = [_ask(cloud, endpoint, f"deploy-{n}") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        holds = list(pool.map(endpoints.hold_endpoint, asked))

    (winner,) = [each for each in holds if each.granted]
    assert {each.holder for each in holds if not each.granted} == {winner.record.holder}
    assert endpoint_records.read(endpoint) == winner.record and winner.record.epoch == 1
    again = endpoints.hold_endpoint(next(a for a in asked if a.run == winner.record.holder))
    assert again.record == winner.record


def test_a_write_by_one_who_does_not_hold_is_refused_unsent(cloud: Cloud, endpoint: str) -> None:
    held = endpoints.hold_endpoint(_ask(cloud, endpoint, "deploy-a")).record
    sent = len(cloud.control.events())
    for run, epoch in (("deploy-b", held.epoch), ("deploy-a", held.epoch - 1)):
        with pytest.raises(ConflictError) as refused:
            endpoints.set_traffic(
                TrafficChange(platform="aks", endpoint=endpoint, weights={"d1": 100}, epoch=epoch, run=run)
            )
        assert refused.value.code == FENCED
    assert len(cloud.control.events()) == sent


def test_a_frozen_endpoint_says_what_to_type(cloud: Cloud, endpoint: str) -> None:
    run = "deploy-w-manual-0123456789abcdef"
    held = endpoints.hold_endpoint(_ask(cloud, endpoint, run)).record
    endpoints.save_last_good(LastGood(endpoint=endpoint, run=run, epoch=held.epoch, weights={"d1": 100}))
    frozen = endpoints.free_endpoint(
        FreeRequest(endpoint=endpoint, run=run, epoch=held.epoch, at=cloud.clock.now(), frozen="stuck")
    )

    assert f'az ml online-endpoint update --name {endpoint} --traffic "d1=100"' in frozen.commands[1]
    assert "--resource-group" in frozen.commands[1] and frozen.commands[-1] == f"muster rollback {run}"
    assert not endpoints.hold_endpoint(_ask(cloud, endpoint, "deploy-b")).granted
    resumed = endpoints.hold_endpoint(
        _ask(cloud, endpoint, f"rollback-{run}").model_copy(update={"resume": True})
    )
    assert resumed.granted and resumed.record.last_good == {"d1": 100} and resumed.record.held_for == run


def test_what_was_taken_since_is_not_retired(cloud: Cloud, endpoint: str) -> None:
    blue = DeploymentRef(name="d00000001")
    endpoint_records.update(endpoint, lambda r: r.model_copy(update={"previous": blue, "platform": "aks"}))
    endpoints.hold_endpoint(_ask(cloud, endpoint, "rollback-x"))
    with pytest.raises(ConflictError):
        endpoints.retire_deployment(
            Chore(kind="retire", endpoint=endpoint, platform="aks", epoch=0, deployment=blue.name)
        )
    assert endpoint_records.read(endpoint).previous == blue


@pytest.mark.usefixtures("cloud")
def test_only_a_roll_back_that_failed_may_end_anew() -> None:
    run = f"rollback-{uuid.uuid4().hex}"
    failed = DeployOutcome(run=run, workload="w", state=DeployState.FROZEN, reason="stuck")
    done = failed.model_copy(update={"state": DeployState.ROLLED_BACK})
    for outcome in (failed, failed, done, done):
        approvals.record_deployment(outcome)
    with pytest.raises(ConflictError):
        approvals.record_deployment(failed)
    assert (ledger.read(f"runs/{run}/outcome.json") or {})["state"] == "RolledBack"


@pytest.mark.parametrize(
    ("by", "digest", "counts"),
    [("bob", "", True), ("ann", "", False), ("bob", "0" * 64, False), ("function key", "", False)],
)
def test_only_a_decision_that_stands_against_its_request_counts(
    cloud: Cloud, by: str, digest: str, counts: bool
) -> None:
    run, now = f"deploy-{uuid.uuid4().hex}", cloud.clock.now()
    asked = ApprovalRequest(
        run=run, endpoint="e", platform="aks", deployment="d1", model="m:2", model_sha256="a" * 64,
        environment="b" * 64, asked=now, expires=now + timedelta(hours=1), requested_by="ann",
    )  # fmt: skip
    approvals.ask_approval(asked)
    assert approvals.read_approval(ApprovalQuery(run=run)).approval is None
    said = Approval(decision="approve", by=by, at=now, digest=digest or asked.digest)
    approval_records.decide(run, 0, said)
    assert approvals.read_approval(ApprovalQuery(run=run)).approval == (said if counts else None)


@pytest.mark.usefixtures("cloud")
def test_collected_predictions_are_read_once_each_and_by_deployment(endpoint: str) -> None:
    workspace = settings().ml_workspace_id.strip("/").split("/")
    folder = f"{workspace[1]}/{workspace[3]}/{workspace[7]}/{endpoint}/m/2/predictions/2026/03/01/data.csv"
    rows = ["request_id,client_request_id,time,deployment,row,late", "r1,,t,d1,0,0.25", "r1,,t,d1,1,0.75",
            "r2,,t,d2,0,0.5", "r1,,t,d1,1,0.75", "r3,,t,d1,0,yes", "r4,,t,d1"]  # fmt: skip
    for _ in range(2):
        blob.ensure_container(collected.CONTAINER)
    blob.create_only(collected.CONTAINER, folder, "\n".join(rows).encode())

    assert collected.predictions(endpoint, "m:2", "d1", {}) == [0.25, 0.75, "yes"]
    assert collected.predictions(endpoint, "m:3", "d1", {}) == []


@pytest.mark.usefixtures("cloud")
def test_the_predictions_of_a_step_are_compared_and_none_from_before_it(endpoint: str) -> None:
    def look(at: datetime, traffic: dict[str, int], **step: Any) -> tuple[float | None, int, int] | None:
        query = StepQuery(
            run=run, platform="aks", endpoint=endpoint, blue="d1", green="d2", model="m", version="2",
            rollout=Rollout(max_prediction_drift=0.2), epoch=1, **{"since": at, "began": at, **step},
        )  # fmt: skip
        seen = EndpointLook(exists=True, traffic=traffic)
        found = approvals.drift_of(query, record, seen, at)
        return (found.distance, found.blue_rows, found.green_rows) if found else None

    run, began = f"deploy-{uuid.uuid4().hex}", datetime(2026, 3, 1, 2, tzinfo=UTC)
    record = EndpointRecord(endpoint=endpoint, live=DeploymentRef(name="d1", model="m:1"))
    shared, last = began + timedelta(minutes=1), began + timedelta(minutes=9)
    _collect(endpoint, "1", "d1", 0.1, 10)
    _collect(endpoint, "2", "d2", 0.9, 10)  # when it was tried before, say
    assert look(began, {"d1": 100}) is None
    assert look(shared, {"d1": 90, "d2": 10}) is None  # read back: the step begins
    step = {"since": shared, "began": began, "baking": True}
    assert look(shared + timedelta(minutes=1), {"d1": 90, "d2": 10}, **step) == (None, 0, 0)
    _collect(endpoint, "1", "d1", 0.5, 5)
    _collect(endpoint, "2", "d2", 0.5, 4)
    for minute in (2, 3):
        assert look(shared + timedelta(minutes=minute), {"d1": 90, "d2": 10}, **step) == (0.0, 5, 4)

    assert look(last, {"d2": 100}) is None
    _collect(endpoint, "2", "d2", 0.7, 3)
    seen = look(last + timedelta(minutes=1), {"d2": 100}, since=last, began=began, baking=True)
    assert seen == (1.0, 5, 3)  # blue has no traffic any more: what it answered since the rollout began


def _collect(endpoint: str, version: str, deployment: str, value: float, rows: int) -> None:
    """As scoring servers do: whole rows, behind those that are there."""
    scope = settings().ml_workspace_id.strip("/").split("/")
    name = f"{scope[1]}/{scope[3]}/{scope[7]}/{endpoint}/m/{version}/predictions/2026/03/01/data.csv"
    blob.ensure_container(collected.CONTAINER)
    found = blob.read_with_etag(collected.CONTAINER, name)
    before = found.data if found else b"request_id,client_request_id,time,deployment,row,late\n"
    told = "".join(f"{uuid.uuid4().hex},,t,{deployment},0,{value}\n" for _ in range(rows))
    assert blob.write_if_match(
        collected.CONTAINER, name, before + told.encode(), etag=found.etag if found else ""
    )


def test_every_endpoint_s_record_is_found(cloud: Cloud, endpoint: str) -> None:
    endpoints.hold_endpoint(_ask(cloud, endpoint, "deploy-a"))
    found: dict[str, EndpointRecord] = {each.endpoint: each for each in endpoint_records.all_records()}
    assert found[endpoint].holder == "deploy-a"


@pytest.mark.usefixtures("cloud")
def test_a_container_that_is_missing_is_made_and_one_that_is_there_kept() -> None:
    container = f"made-{uuid.uuid4().hex[:8]}"
    blob.ensure_container(container)
    blob.create_only(container, "a", b"kept")
    blob.ensure_container(container)
    assert blob.read(container, "a") == b"kept"
