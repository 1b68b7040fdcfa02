"""What every platform that serves on Azure promises: real requests, and real servers behind the endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.azure.scoring_client import ScoringClient
from shared.domain.errors import CapacityError, NotFoundError, TransientError
from shared.domain.lease import (
    TAG_APP,
    TAG_DEADLINE,
    TAG_EPOCH,
    TAG_LEASE,
    TAG_MANAGED_BY,
    TAG_OWNER,
)
from shared.domain.serving import MAX_LOG, DeploymentState, MetricsQuery, TrafficChange
from shared.platforms import with_server
from tests.platforms.serving import BLUE, GREEN, RUN, Rollout, a_model, go_live, refused, score
from tests.support.cloud import Cloud, environment, without_faults

ON_AZURE = sorted(name for name, each in with_server().items() if each.bills)
ML = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"


@pytest.fixture(params=ON_AZURE, scope="module")
def lived_in(inhabited: Cloud, request: pytest.FixtureRequest) -> Iterator[Rollout]:
    """An endpoint with a blue that has all traffic and a green that has none. Tests leave it so."""
    rollout = Rollout(inhabited, with_server()[request.param])
    with without_faults(inhabited):
        go_live(rollout)
    yield rollout


@pytest.fixture
def live(cloud: Cloud, lived_in: Rollout) -> Iterator[Rollout]:
    yield lived_in
    cloud.control.clear_faults()
    if lived_in.look().traffic != {BLUE: 100}:
        lived_in.shift(d0000001=100)


@pytest.fixture(params=ON_AZURE)
def fresh(cloud: Cloud, request: pytest.FixtureRequest) -> Rollout:
    """An endpoint of its own, that is not there yet."""
    return Rollout(cloud, with_server()[request.param])


def writes(rollout: Rollout, of: str, since: int) -> list[dict[str, Any]]:
    """PUT, PATCH and DELETE requests for something of the endpoint that reached ARM."""
    return [
        event
        for event in rollout.cloud.control.events(since=since, type_="request")
        if event["method"] in ("PUT", "PATCH", "DELETE")
        and f"/onlineendpoints/{rollout.endpoint}{of}".lower() in event["path"].lower()
    ]


def test_an_endpoint_that_is_not_there_is_absent_and_so_is_what_is_in_it(fresh: Rollout) -> None:
    look = fresh.look()

    assert (look.exists, look.traffic, look.deployments) == (False, {}, ())
    assert fresh.server.observe_deployment(fresh.plan()).state is DeploymentState.ABSENT
    assert fresh.server.begin_deletion(fresh.endpoint, BLUE) is None
    refused("EndpointNotFound", lambda: fresh.server.begin_deployment(fresh.plan()), NotFoundError)
    refused("EndpointNotFound", lambda: fresh.server.set_traffic(fresh.change(d0000001=100)), NotFoundError)
    refused("EndpointNotFound", lambda: fresh.server.scoring_access(fresh.endpoint), NotFoundError)


def test_a_deployment_answers_by_name_before_it_has_traffic_and_clients_never_see_it(live: Rollout) -> None:
    by_name, by_weight = score(live, GREEN), score(live)

    assert by_name.status == by_weight.status == 200
    assert [round(each, 3) for each in json.loads(by_name.body)["predictions"]] == [0.182, 0.818]
    assert live.look().of(GREEN).weight == 0
    assert live.cloud.control.serving(live.endpoint)["traffic"] == {BLUE: 100}


def test_a_deployment_carries_its_run_s_tags(live: Rollout) -> None:
    plan = live.plan(GREEN, version="2")
    look = live.server.observe_deployment(plan)

    assert look.state is DeploymentState.READY and look.instances == 1
    assert {TAG_APP, TAG_LEASE, TAG_OWNER, TAG_DEADLINE, TAG_EPOCH, TAG_MANAGED_BY} <= look.tags.keys()
    assert (look.tags[TAG_OWNER], look.tags["muster-model"]) == (RUN, "served:2")
    assert look.tags["muster-model-sha256"] == plan.model.sha256


def test_the_same_plan_twice_is_one_deployment_with_one_code_and_one_environment(live: Rollout) -> None:
    since, before = live.cloud.mark(), _assets(live)
    live.sent(lambda: live.server.begin_deployment(live.plan(GREEN, version="2")))

    assert writes(live, "", since) == []
    assert _assets(live) == before


def _assets(live: Rollout) -> set[str]:
    """The codes and environments that deployments made."""
    kinds = [
        f"Microsoft.MachineLearningServices/workspaces/{kind}/versions" for kind in ("codes", "environments")
    ]
    return {each["id"] for kind in kinds for each in live.cloud.control.resources(kind)}


def test_another_run_s_deployment_of_that_name_is_left_alone(live: Rollout) -> None:
    since = live.cloud.mark()
    theirs = live.plan(GREEN, version="2", run="deploy-live-key-fedcba9876543210")

    refused("NotOurs", lambda: live.server.begin_deployment(theirs))
    refused("NotOurs", lambda: live.server.begin_deletion(live.endpoint, GREEN, theirs.run))
    assert live.server.observe_deployment(theirs).state is DeploymentState.ABSENT
    assert writes(live, "", since) == []


def test_traffic_is_written_whole_and_read_back(live: Rollout) -> None:
    look = live.shift(d0000001=95, d0000002=5)

    assert [(each.name, each.weight) for each in look.deployments] == [(BLUE, 95), (GREEN, 5)]
    assert live.cloud.control.serving(live.endpoint)["traffic"] == {BLUE: 95, GREEN: 5}


def test_the_same_map_is_not_sent_again_once_it_is_sure(live: Rollout) -> None:
    live.cloud.pass_time(120)
    since = live.cloud.mark()

    live.sent(lambda: live.server.set_traffic(live.change(d0000001=100, d0000002=0)))

    assert writes(live, "", since) == []


def test_a_map_that_was_read_right_after_a_change_is_not_believed(live: Rollout) -> None:
    """Reads lag: the map that is still shown is the one that is to come back, and not the one in force."""
    live.cloud.pass_time(120)
    operation = live.server.set_traffic(live.change(d0000001=90, d0000002=10))
    live.cloud.pass_time(operation.poll_after_s + 5)
    seen = live.look()
    assert (seen.state, seen.traffic) == ("Succeeded", {BLUE: 100})  # what makes this test one
    assert live.cloud.control.serving(live.endpoint)["traffic"] == {BLUE: 90, GREEN: 10}

    live.sent(lambda: live.server.set_traffic(live.change(d0000001=100)))
    live.cloud.pass_time(60)

    assert live.cloud.control.serving(live.endpoint)["traffic"] == {BLUE: 100}


@pytest.mark.parametrize("fault", ["traffic-conflict", "traffic-timeout"])
def test_a_busy_endpoint_and_a_lost_answer_are_asked_again(live: Rollout, fault: str) -> None:
    live.cloud.pass_time(120)
    live.cloud.control.add_faults({"preset": fault, "times": 1})
    with pytest.raises(TransientError) as caught:
        live.server.set_traffic(live.change(d0000001=80, d0000002=20))
    assert fault == "traffic-timeout" or caught.value.retry_after_s == 60
    live.cloud.pass_time(60)

    assert live.shift(d0000001=80, d0000002=20).traffic == {BLUE: 80, GREEN: 20}


@pytest.mark.parametrize("fault", ["traffic-canceled", "traffic-failed"])
def test_a_change_that_comes_to_nothing_is_seen_and_can_be_sent_again(live: Rollout, fault: str) -> None:
    live.cloud.pass_time(120)
    live.cloud.control.add_faults({"preset": fault, "times": 1})
    live.sent(lambda: live.server.set_traffic(live.change(d0000001=70, d0000002=30)))
    live.looks(lambda look: look.state in ("Succeeded", "Failed"))
    live.cloud.pass_time(60)
    assert live.look().traffic == {BLUE: 100}

    assert live.shift(d0000001=70, d0000002=30).traffic == {BLUE: 70, GREEN: 30}


def test_a_map_that_is_objected_to_right_before_it_is_written_is_not_sent(live: Rollout) -> None:
    live.cloud.pass_time(120)
    since = live.cloud.mark()

    def object_() -> None:
        raise TransientError("it was decided long ago", code="Late")

    refused(
        "Late",
        lambda: live.server.set_traffic(live.change(d0000001=80, d0000002=20), confirm=object_),
        TransientError,
    )

    assert writes(live, "", since) == []
    assert live.look().traffic == {BLUE: 100}


def test_no_traffic_for_what_is_not_ready(live: Rollout) -> None:
    since = live.cloud.mark()

    refused("DeploymentNotReady", lambda: live.server.set_traffic(live.change(d0000001=50, d0000009=50)))

    assert writes(live, "", since) == []
    assert live.look().traffic == {BLUE: 100}


def test_what_has_traffic_is_not_deleted(live: Rollout) -> None:
    since = live.cloud.mark()

    refused("HasTraffic", lambda: live.server.begin_deletion(live.endpoint, BLUE))

    assert writes(live, "", since) == []


def test_logs_are_the_server_s_own_and_bounded(live: Rollout) -> None:
    score(live, GREEN)

    lines = live.server.read_logs(live.endpoint, GREEN, tail=5).splitlines()

    assert 0 < len(lines) <= 5


def test_metrics_are_counted_by_deployment_and_silence_is_not_zero(live: Rollout) -> None:
    live.cloud.pass_time(60 - live.cloud.clock.now().second)
    since = live.cloud.clock.now()
    for _ in range(6):
        assert score(live).status == 200
    for _ in range(2):
        assert score(live, GREEN, b"no json").status >= 400
    live.cloud.pass_time(300)
    query = MetricsQuery(
        platform=live.platform.name,
        endpoint=live.endpoint,
        deployments=(BLUE, GREEN, "d0000009"),
        since=since,
        until=live.cloud.clock.now(),
    )

    metrics = live.server.read_metrics(query)

    blue, green, nobody = (metrics[name] for name in query.deployments)
    assert (blue.requests, blue.errors_4xx, blue.errors_5xx) == (6, 0, 0)
    assert green.requests == 2 and green.errors_4xx + green.errors_5xx == 2
    assert blue.p50_ms is not None and blue.p95_ms is not None and 0 < blue.p50_ms <= blue.p95_ms
    assert blue.newest is not None and since < blue.newest <= live.cloud.clock.now()
    assert (nobody.requests, nobody.newest, nobody.p95_ms) == (0, None, None)


def test_who_holds_a_lower_epoch_writes_nothing(fresh: Rollout) -> None:
    fresh.make_endpoint()
    fresh.sent(lambda: fresh.server.begin_endpoint(fresh.endpoint_plan(epoch=3)))
    fresh.looks(lambda look: look.epoch == 3 and look.state == "Succeeded")
    since = fresh.cloud.mark()

    refused("Fenced", lambda: fresh.server.begin_endpoint(fresh.endpoint_plan()))
    refused("Fenced", lambda: fresh.server.begin_deployment(fresh.plan()))
    refused("Fenced", lambda: fresh.server.set_traffic(fresh.change(d0000001=100)))

    assert writes(fresh, "", since) == []


def test_the_traffic_of_a_first_deployment_can_be_taken_back(fresh: Rollout) -> None:
    fresh.make_endpoint()
    fresh.make()
    fresh.shift(d0000001=100)
    nothing = TrafficChange(
        platform=fresh.platform.name,
        endpoint=fresh.endpoint,
        weights={BLUE: 0},
        epoch=1,
        run=fresh.run,
        clears=True,
    )
    fresh.sent(lambda: fresh.server.set_traffic(nothing))
    fresh.looks(lambda look: look.traffic == {} and look.state == "Succeeded")
    fresh.remove(BLUE, RUN)

    assert fresh.look().deployments == ()
    assert fresh.server.begin_deletion(fresh.endpoint, BLUE) is None
    assert not [
        line for line in fresh.cloud.control.bill()["lines"]
        if line["ended"] is None and fresh.endpoint in line["resource_id"]
    ]  # fmt: skip


def test_an_endpoint_that_is_not_ours_is_left_alone(fresh: Rollout) -> None:
    fresh.make_endpoint()
    others = {"MUSTER_APP": "another"}
    with environment({**fresh.cloud.settings, **others}):
        since = fresh.cloud.mark()
        refused("NotOurs", lambda: fresh.server.begin_endpoint(fresh.endpoint_plan(epoch=2)))
        refused("NotOurs", lambda: fresh.server.set_traffic(fresh.change(d0000001=100)))
        refused("NotOurs", lambda: fresh.server.scoring_access(fresh.endpoint))
        assert writes(fresh, "", since) == []


def test_an_endpoint_that_is_opened_in_another_way_is_refused(fresh: Rollout) -> None:
    fresh.make_endpoint()
    target = fresh.target.model_copy(update={"auth_mode": "aad_token"})

    refused("EndpointElsewhere", lambda: fresh.server.begin_endpoint(fresh.endpoint_plan(target=target)))


def test_a_token_opens_an_endpoint_without_keys(fresh: Rollout) -> None:
    target = fresh.target.model_copy(update={"auth_mode": "aad_token"})
    fresh.sent(lambda: fresh.server.begin_endpoint(fresh.endpoint_plan(target=target)))
    fresh.looks(lambda look: look.state == "Succeeded")
    access = fresh.access()

    with ScoringClient(access.uri, {}) as stranger, ScoringClient(access.uri, access.headers) as client:
        assert stranger.score(b"{}").status == 401
        assert client.score(b"{}").status == 404  # let in; nothing has traffic
    assert access.headers["Authorization"].split()[1] not in repr((access, client))


@pytest.mark.parametrize(
    ("fault", "code"),
    [("image-build-failure", "ImageBuildFailure"), ("resource-not-ready", "ResourceNotReady")],
)
def test_a_deployment_that_fails_says_why_and_stays_for_its_logs(
    fresh: Rollout, fault: str, code: str
) -> None:
    fresh.make_endpoint()
    fresh.cloud.control.add_faults({"preset": fault, "times": 1})
    plan = fresh.plan()
    fresh.sent(lambda: fresh.server.begin_deployment(plan))

    look = fresh.over(plan)

    assert (look.state, look.code) == (DeploymentState.FAILED, code)
    assert look.message and "\n" not in look.code
    assert fresh.server.read_logs(fresh.endpoint, plan.name)
    fresh.remove(plan.name, RUN)


def test_a_log_is_bounded_and_holds_no_secret(fresh: Rollout) -> None:
    secret = "c2VjcmV0" * 8 + "=="
    log = "\n".join(f"line {n} AccountKey={secret}" for n in range(1000))
    fresh.make_endpoint()
    fresh.cloud.control.add_faults({"preset": "image-build-failure", "log": log, "times": 1})
    plan = fresh.plan()
    fresh.sent(lambda: fresh.server.begin_deployment(plan))
    fresh.over(plan)

    text = fresh.server.read_logs(fresh.endpoint, plan.name, tail=900)

    assert 0 < len(text) <= MAX_LOG and secret not in text
    assert text.endswith("line 999 AccountKey=[redacted]")
    fresh.remove(plan.name)


def test_a_refusal_for_want_of_quota_is_one_of_capacity_and_leaves_nothing(fresh: Rollout) -> None:
    fresh.make_endpoint()
    fresh.cloud.control.add_faults({"preset": "out-of-quota", "times": 1})

    refused("OutOfQuota", lambda: fresh.server.begin_deployment(fresh.plan()), CapacityError)

    assert fresh.look().deployments == ()


def test_a_model_that_cannot_be_loaded_fails_with_its_own_words(fresh: Rollout) -> None:
    fresh.make_endpoint()
    model, asset = a_model("crashes", deed="crash")
    plan = fresh.plan(model=model, model_asset=asset)
    fresh.sent(lambda: fresh.server.begin_deployment(plan))

    look = fresh.over(plan)

    assert look.state is DeploymentState.FAILED and look.code, look
    assert "a_package_that_nobody_installed" in fresh.server.read_logs(fresh.endpoint, plan.name), look
    fresh.remove(plan.name)
