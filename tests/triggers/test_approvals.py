"""Whose word counts about a deployment, and when: not the requester's, not a replay, not what came late or is forged."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.azure import approval_records, arm, endpoint_records, ledger
from shared.domain.deploy import (
    ApprovalRequest,
    DeploymentRef,
    DeployOutcome,
    DeployState,
    EndpointRecord,
)
from shared.domain.names import deploy_run_id, deployment_name, rollback_run_id
from tests.support.deployments import post
from tests.support.estate import Estate, wait

pytestmark = pytest.mark.usefixtures("stopped")

OTHER = "f" * 64


def started(world: Estate, endpoint: str, who: str = "default") -> str:
    status, answer = post(world, "deployments", who, {"workload": endpoint})
    assert status == 202, answer
    return str(answer["id"])


def asked(run: str, endpoint: str, number: int = 0, *, minutes: float = 60, by: str = "") -> ApprovalRequest:
    """What the run's orchestrator puts on record when it asks a person."""
    now = arm.now()
    claim = ledger.read(f"claims/{run}.json")
    assert claim is not None
    request = ApprovalRequest(
        run=run, number=number, endpoint=endpoint, platform="aks", deployment=deployment_name(run),
        model=f"{endpoint}-model:1", model_sha256=OTHER, environment=OTHER, asked=now,
        expires=now + timedelta(minutes=minutes), requested_by=by or claim["request"]["requested_by"],
    )  # fmt: skip
    assert approval_records.ask(request)
    return request


def decide(world: Estate, run: str, word: str, digest: str, who: str = "approver") -> tuple[int, Any]:
    return post(world, f"deployments/{run}/{word}", who, {"digest": digest, "note": "seen"})


def test_an_approval_is_one_record_with_who_when_and_what(world: Estate) -> None:
    run = started(world, "approved")
    status, answer = decide(world, run, "approve", OTHER)
    assert (status, answer["detail"]) == (409, f"{run} has asked nobody yet")
    request = asked(run, "approved")
    _, shown = world.world.api(f"deployments/{run}")
    assert (shown["approval"]["digest"], shown["approval"]["decision"]) == (request.digest, None)

    for digest, status in ((OTHER, 409), ("", 400), ("F" * 64, 400), (request.digest + "0", 400)):
        assert decide(world, run, "approve", digest)[0] == status
    assert post(world, f"deployments/{run}/approve", "approver", {"digest": request.digest, "x": 1})[0] == 400
    for who in ("default", "reader", "nobody"):
        status, answer = decide(world, run, "approve", request.digest, who)
        assert (status, "Model.Approve" in answer["detail"]) == (403, True)
    assert approval_records.read_decision(run) is None

    status, answer = decide(world, run, "approve", request.digest)
    assert (status, answer["decision"], answer["digest"]) == (200, "approve", request.digest)
    approval = approval_records.read_decision(run)
    assert approval is not None
    assert (approval.decision, approval.name, approval.digest, approval.note) == (
        "approve", "approver@localdev", request.digest, "seen",
    )  # fmt: skip
    for word, who in (("approve", "approver"), ("approve", "chief"), ("reject", "chief")):
        status, answer = decide(world, run, word, request.digest, who)
        assert (status, "it was decided: approve by approver@localdev" in answer["detail"]) == (409, True)
    assert approval_records.read_decision(run) == approval


def test_who_asked_may_reject_and_not_approve(world: Estate) -> None:
    run = started(world, "own", "chief")
    request = asked(run, "own")
    status, answer = decide(world, run, "approve", request.digest, "chief")
    assert (status, "the requester cannot approve" in answer["detail"]) == (403, True)
    assert approval_records.read_decision(run) is None
    status, answer = decide(world, run, "reject", request.digest, "chief")
    assert (status, answer["decision"]) == (200, "reject")


def test_an_approval_that_comes_late_counts_for_nothing(world: Estate) -> None:
    run = started(world, "late")
    request = asked(run, "late", minutes=0)
    status, answer = decide(world, run, "approve", request.digest)
    assert (status, "it came after" in answer["detail"]) == (409, True)
    assert approval_records.read_decision(run) is None


def test_a_pause_is_decided_by_its_own_digest(world: Estate) -> None:
    """What was approved before green had traffic approves no pause, and one pause's word is not the next one's."""
    run = started(world, "paused")
    first = asked(run, "paused")
    assert decide(world, run, "approve", first.digest)[0] == 200
    pauses: list[ApprovalRequest] = []
    for number in (1, 2):
        pause = asked(run, "paused", number)
        assert [decide(world, run, "approve", old.digest)[0] for old in (first, *pauses)] == [409] * number
        pauses.append(pause)
        assert decide(world, run, "approve" if number == 1 else "reject", pause.digest)[0] == 200
    words = [approval_records.read_decision(run, number) for number in (0, 1, 2)]
    assert [word and word.decision for word in words] == ["approve", "approve", "reject"]


EVENTS = ("approve", "approval", "wake", "cancel", "resume-1", "Approval", "rollback")
PAYLOADS: tuple[Any, ...] = (
    True, "approve", None, [], {"decision": "approve", "by": "chief@localdev"}, {"digest": OTHER, "approve": True},
)  # fmt: skip


def test_a_forged_event_wakes_and_decides_nothing(world: Estate, raise_event: Callable[..., None]) -> None:
    """By the host's own webhook and system key: all that an event can do is to make the run read its records."""
    run = started(world, "awake")
    request = asked(run, "awake")
    for name in EVENTS:
        for payload in (*PAYLOADS, {"decision": "approve", "by": "x", "digest": request.digest}):
            raise_event(run, name, payload)
    _, shown = world.world.api(f"deployments/{run}")
    assert (shown["approval"]["decision"], shown["weights"]) == (None, {})
    assert [approval_records.read_decision(run), approval_records.rollback_requested_by(run)] == [None, ""]
    traffic = [each for each in world.world.control.events(type_="traffic") if each["endpoint"] == "awake"]
    assert all(not any(each["traffic"].values()) for each in traffic)


@pytest.fixture
def raise_event(world: Estate) -> Callable[..., None]:
    key = json.loads((world.world.state / "keys.json").read_text())["systemKeys"]["durabletask_extension"]

    def send(run: str, name: str, payload: Any) -> None:
        url = f"{world.world.url}/runtime/webhooks/durabletask/instances/{run}/raiseEvent/{name}?code={key}"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(payload).encode(), headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            assert error.code == 410, error.read()  # it is over

    return send


def over(endpoint: str, state: DeployState, **record: Any) -> str:
    """A deployment that ended so, long ago: no task hub knows it any more."""
    run = deploy_run_id(endpoint, f"manual-{state.value.encode().hex():0<16.16}")
    outcome = DeployOutcome(run=run, workload=endpoint, state=state, endpoint=endpoint, platform="aks")
    ledger.claim(f"runs/{run}/outcome.json", outcome)
    here = DeploymentRef(name=deployment_name(run), run=run)
    values = {"live": here, **record}
    fresh = EndpointRecord(endpoint=endpoint, platform="aks")
    endpoint_records.update(endpoint, lambda _: fresh.model_copy(update=values))
    return run


BLUE = DeploymentRef(name="dblue", model="taken-back-model:1")


@pytest.mark.parametrize(
    ("state", "record", "told"),
    [
        (DeployState.REJECTED, {}, "ended Rejected"),
        (DeployState.ROLLED_BACK, {}, "ended RolledBack"),
        (DeployState.COMPLETED, {"live": None}, "is not live any more"),
        (DeployState.COMPLETED, {"live": BLUE}, "is not live any more"),
        (DeployState.COMPLETED, {}, "is deleted; deploy that version again"),
        (DeployState.COMPLETED, {"previous": BLUE, "holder": "deploy-x"}, "is held by deploy-x"),
        (DeployState.FROZEN, {"holder": "deploy-x", "frozen": "for another run"}, "ended Frozen"),
    ],
)
def test_there_is_not_always_something_to_go_back_to(
    world: Estate, state: DeployState, record: dict[str, Any], told: str
) -> None:
    run = over("taken-back", state, **record)
    status, answer = post(world, f"deployments/{run}/rollback", "default")
    assert (status, told in answer["detail"]) == (409, True), answer


def test_a_committed_deployment_is_taken_back_by_a_run_of_its_own(world: Estate) -> None:
    run = over("taken-back", DeployState.COMPLETED, previous=BLUE)
    assert post(world, f"deployments/{run}/rollback", "reader")[0] == 403
    status, answer = post(world, f"deployments/{run}/rollback", "approver")
    assert (status, answer["id"], answer["of"]) == (202, rollback_run_id(run), run)
    assert post(world, f"deployments/{run}/rollback", "approver")[0] in (202, 409)
    for what in ("rollback", "cancel"):
        status, answer = post(world, f"deployments/{rollback_run_id(run)}/{what}", "default")
        assert (status, "goes to its end" in answer["detail"]) == (409, True)
    assert rollback_run_id(run) in [each["id"] for each in world.world.api("deployments")[1]["deployments"]]


@pytest.mark.parametrize(("what", "state"), [("cancel", "Cancelled"), ("rollback", "RolledBack")])
def test_one_under_way_is_stopped_by_a_record_that_it_is_woken_to_read(
    world: Estate, what: str, state: str
) -> None:
    """The clock stands still: without being woken it would not look again."""
    run = started(world, f"off-by-{what}")
    assert post(world, f"deployments/{run}/{what}", "reader")[0] == 403
    assert post(world, f"deployments/{run}/{what}", "default")[0] == 202
    by = {
        "cancel": ledger.read(f"runs/{run}/cancel.json"),
        "rollback": ledger.read(f"deployments/{run}/rollback.json"),
    }
    assert (by[what] or {})["who"] == "http:operator@localdev"
    wait(lambda: world.world.api(f"deployments/{run}")[1]["over"], f"{run} to be over")
    assert world.world.api(f"deployments/{run}")[1]["state"] == state
    assert endpoint_records.read(f"off-by-{what}").holder is None
    assert post(world, f"deployments/{run}/{what}", "default")[0] == 409
