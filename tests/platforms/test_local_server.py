"""Models served on the user's own machine: real servers, a real router, and the contract of every server."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared.azure import arm
from shared.azure.scoring_client import ScoringClient
from shared.config import settings
from shared.domain.errors import NotFoundError, PlatformError, SpecError, TransientError
from shared.domain.serving import DeploymentState, MetricsQuery, TrafficChange
from shared.platforms import local_metrics, local_router, platforms
from shared.platforms.local_metrics import Pair, to_app
from tests.platforms.serving import BLUE, GREEN, RUN, Rollout, a_model, go_live, refused, score
from tests.support.cloud import Cloud, environment

LOCAL = platforms()["local"]


def _end(rollout: Rollout) -> None:
    """Nothing of a test outlives it, whatever it left."""
    for path in (settings().local_work / ".endpoints" / rollout.endpoint).rglob("process.json"):
        try:
            os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="module")
def lived_in(inhabited: Cloud) -> Iterator[Rollout]:
    rollout = Rollout(inhabited, LOCAL)
    go_live(rollout)
    yield rollout
    _end(rollout)


@pytest.fixture
def live(cloud: Cloud, lived_in: Rollout) -> Iterator[Rollout]:
    yield lived_in
    if lived_in.look().traffic != {BLUE: 100}:
        lived_in.shift(d0000001=100)


@pytest.fixture
def fresh(cloud: Cloud) -> Iterator[Rollout]:
    rollout = Rollout(cloud, LOCAL)
    yield rollout
    _end(rollout)


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
    assert by_name.status == by_weight.status == 200, (by_name, by_weight)
    assert [round(each, 3) for each in json.loads(by_name.body)["predictions"]] == [0.182, 0.818]
    assert live.look().of(GREEN).weight == 0


def test_only_the_endpoints_key_opens_it_and_only_on_loopback(live: Rollout) -> None:
    access = live.access()
    assert access.uri.startswith("http://127.0.0.1:")
    with ScoringClient(access.uri, {"Authorization": "Bearer guessed"}) as stranger:
        assert stranger.score(b"{}").status == 401
    assert access.headers["Authorization"].split()[1] not in repr(access)


def test_traffic_goes_by_the_whole_map_and_another_workers_change_counts_at_once(live: Rollout) -> None:
    live.shift(d0000001=50, d0000002=50)
    since = live.cloud.clock.now()
    assert {score(live).status for _ in range(40)} == {200}
    metrics = _metrics(live, since, lambda found: found[BLUE].requests + found[GREEN].requests >= 40)
    assert 5 <= metrics[GREEN].requests <= 35
    live.shift(d0000002=100)
    assert live.look().traffic == {GREEN: 100}


def test_the_same_plan_twice_is_one_deployment_and_another_runs_is_left_alone(live: Rollout) -> None:
    before = _processes(live)
    live.server.begin_deployment(live.plan(GREEN, version="2"))
    assert _processes(live) == before
    theirs = live.plan(GREEN, version="2", run="deploy-live-key-fedcba9876543210")
    refused("NotOurs", lambda: live.server.begin_deployment(theirs))
    refused("NotOurs", lambda: live.server.begin_deletion(live.endpoint, GREEN, theirs.run))
    assert live.server.observe_deployment(theirs).state is DeploymentState.ABSENT


def test_no_traffic_for_what_is_not_there_and_no_deletion_of_what_has_some(live: Rollout) -> None:
    refused("DeploymentNotReady", lambda: live.server.set_traffic(live.change(d0000001=50, d0000009=50)))
    refused("HasTraffic", lambda: live.server.begin_deletion(live.endpoint, BLUE))
    assert live.look().traffic == {BLUE: 100}


def test_a_map_that_is_objected_to_right_before_it_is_written_is_not_written(live: Rollout) -> None:
    def object_() -> None:
        raise TransientError("it was decided long ago", code="Late")

    change = live.change(d0000001=50, d0000002=50)
    refused("Late", lambda: live.server.set_traffic(change, confirm=object_), TransientError)
    assert live.look().traffic == {BLUE: 100}


def test_who_holds_a_lower_epoch_writes_nothing(fresh: Rollout) -> None:
    fresh.make_endpoint()
    fresh.server.begin_endpoint(fresh.endpoint_plan(epoch=3))
    assert fresh.look().epoch == 3
    refused("Fenced", lambda: fresh.server.begin_endpoint(fresh.endpoint_plan()))
    refused("Fenced", lambda: fresh.server.begin_deployment(fresh.plan()))
    refused("Fenced", lambda: fresh.server.set_traffic(fresh.change(d0000001=100)))
    assert (fresh.look().epoch, fresh.look().deployments) == (3, ())


def test_an_endpoint_that_is_another_apps_is_left_alone(live: Rollout) -> None:
    with environment({**live.cloud.settings, "MUSTER_APP": "another"}):
        refused("NotOurs", lambda: live.server.begin_endpoint(live.endpoint_plan(epoch=2)))
        refused("NotOurs", lambda: live.server.set_traffic(live.change(d0000001=100)))
        refused("NotOurs", lambda: live.server.scoring_access(live.endpoint))
        refused("NotOurs", lambda: live.server.begin_deletion(live.endpoint, GREEN))


def test_names_stay_in_their_folder(live: Rollout) -> None:
    for name in ("..", "a/b", "", ".endpoints"):
        refused("BadName", partial(live.server.read_endpoint, name), PlatformError)
        refused("BadName", partial(live.server.read_logs, live.endpoint, name), PlatformError)
    assert score(live, "../deployments/d0000001").status == 404


def test_a_model_that_cannot_be_loaded_fails_with_its_own_words_and_goes(fresh: Rollout) -> None:
    fresh.make_endpoint()
    model, _ = a_model("crashes", deed="crash")
    plan = fresh.plan(model=model)
    fresh.server.begin_deployment(plan)
    look = fresh.over(plan)
    assert (look.state, look.code) == (DeploymentState.FAILED, "ServerNotStarted")
    assert look.message.startswith("muster: cannot serve: CodeLoadError: score.py: ImportError")
    assert "a_package_that_nobody_installed" in fresh.server.read_logs(fresh.endpoint, plan.name)
    fresh.remove(plan.name, RUN)
    assert fresh.look().deployments == ()
    assert _processes(fresh) == set()


def test_a_model_that_is_not_the_promised_one_is_never_served(fresh: Rollout) -> None:
    fresh.make_endpoint()
    model, _ = a_model("other")
    plan = fresh.plan(model=model.model_copy(update={"sha256": "0" * 64}))
    fresh.server.begin_deployment(plan)
    look = fresh.over(plan)
    assert look.state is DeploymentState.FAILED
    assert "wrong digest" in look.message


def test_a_server_that_dies_is_seen_and_answered_for(fresh: Rollout) -> None:
    fresh.make_endpoint()
    plan = fresh.plan(BLUE)
    fresh.make(BLUE)
    for path in _folder(fresh).glob("deployments/*/instances/*/process.json"):
        os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)
    look = fresh._until(
        lambda: fresh.server.observe_deployment(plan), lambda look: look.state is not DeploymentState.READY
    )
    assert (look.state, look.code) == (DeploymentState.FAILED, "ServerDied")
    assert score(fresh, BLUE).status == 502


def test_the_traffic_of_a_first_deployment_can_be_taken_back_and_nothing_runs_afterwards(
    fresh: Rollout,
) -> None:
    fresh.make_endpoint()
    fresh.make()
    fresh.shift(d0000001=100)
    nothing = TrafficChange(
        platform="local", endpoint=fresh.endpoint, weights={BLUE: 0}, epoch=1, run=fresh.run, clears=True
    )
    fresh.server.set_traffic(nothing)
    assert score(fresh).status == 404
    fresh.remove(BLUE, RUN)
    assert fresh.look().deployments == ()
    assert _processes(fresh) == set()


def test_metrics_are_counted_by_deployment_on_the_apps_clock(live: Rollout) -> None:
    live.look()
    live.cloud.pass_time(3600)
    since = arm.now()
    live.look()
    for _ in range(6):
        assert score(live).status == 200
    for _ in range(2):
        assert score(live, GREEN, b"no json").status == 400
    metrics = _metrics(live, since, lambda found: found[BLUE].requests >= 6 and found[GREEN].requests >= 2)
    blue, green = metrics[BLUE], metrics[GREEN]
    assert (blue.requests, blue.errors_4xx, blue.errors_5xx) == (6, 0, 0)
    assert (green.requests, green.errors_4xx, green.errors_5xx) == (2, 2, 0)
    assert blue.p50_ms is not None and blue.p95_ms is not None and 0 < blue.p50_ms <= blue.p95_ms
    assert blue.newest is not None and since <= blue.newest
    assert metrics["d0000009"].requests == 0


def test_what_was_before_a_window_does_not_count_in_it(live: Rollout) -> None:
    live.look()  # leaves a pair of both clocks, as the write of a step's traffic does
    since = arm.now()
    assert score(live).status == 200
    _metrics(live, since, lambda found: found[BLUE].requests >= 1)
    live.cloud.pass_time(600)
    later = arm.now()
    assert live.server.read_metrics(_query(live, later))[BLUE].requests == 0


def test_what_a_step_s_first_second_has_of_the_time_before_does_not_count_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract test has bad requests refused, and ends a moment before green gets its first traffic."""
    machine = SimpleNamespace(time=lambda: 100.0)
    monkeypatch.setattr(local_router, "time", machine)
    tally = local_router.Tally(tmp_path / "metrics.jsonl")
    for _ in range(9):
        tally.count(GREEN, 400, 1.0)
    machine.time = lambda: 100.6
    tally.count(GREEN, 200, 2.0)
    machine.time = lambda: 101.0
    tally.flush()
    since, until = (datetime.fromtimestamp(at, UTC) for at in (100.5, 102))
    query = MetricsQuery(platform="local", endpoint="e", deployments=(GREEN,), since=since, until=until)

    green = local_metrics.read_metrics(tmp_path, query)[GREEN]

    assert (green.requests, green.errors_4xx, green.p95_ms) == (1, 0, 2.0)
    assert green.newest == datetime.fromtimestamp(101, UTC)


def test_an_endpoint_on_this_machine_is_opened_by_a_key(fresh: Rollout) -> None:
    target = fresh.target.model_copy(update={"auth_mode": "aad_token"})
    assert fresh.server.check_target(fresh.target, fresh.resources).ready
    with pytest.raises(SpecError, match="authMode"):
        fresh.server.check_target(target, fresh.resources)


@pytest.mark.parametrize(
    ("machine", "app"),
    [(90, 990), (100, 1000), (105, 1300), (110, 1600), (115, 1605), (120, 1610), (130, 1620)],
)
def test_time_passes_evenly_between_two_looks(machine: float, app: float) -> None:
    pairs = [Pair(100, 1000), Pair(110, 1600), Pair(120, 1610)]
    assert to_app(machine, pairs) == app


def test_without_a_look_both_clocks_are_one(tmp_path: Path) -> None:
    assert to_app(5.0, []) == 5.0
    assert local_metrics.read_pairs(tmp_path) == []


def _metrics(rollout: Rollout, since: datetime, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    pause = threading.Event()
    for _ in range(200):
        found = rollout.server.read_metrics(_query(rollout, since))
        if reached(found):
            return found
        pause.wait(0.05)
    raise AssertionError(found)


def _query(rollout: Rollout, since: datetime) -> MetricsQuery:
    until = rollout.cloud.clock.now().replace(year=2100)
    return MetricsQuery(
        platform="local",
        endpoint=rollout.endpoint,
        deployments=(BLUE, GREEN, "d0000009"),
        since=since,
        until=until,
    )


def _folder(rollout: Rollout) -> Path:
    return settings().local_work / ".endpoints" / rollout.endpoint


def _processes(rollout: Rollout) -> set[int]:
    """Processes of the endpoint that run."""
    found = {json.loads(path.read_text())["pid"] for path in _folder(rollout).rglob("process.json")}
    return {
        pid
        for pid in found
        if Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text()
    }
