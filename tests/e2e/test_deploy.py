"""Deployment at the running app: a good model takes over without a lost request, a bad one never does.

One world, many endpoints, all at the same time under an outside client; what moves the clock for all comes after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from shared.domain.names import deployment_name, profile_deployment_name
from tests.e2e.campaign import Campaign
from tests.e2e.rollouts import BAD, LARGE, OTHERS, Bad, declarations
from tests.support.checker import violations
from tests.support.cloud import forget
from tests.support.deploy_checker import DEPLOYMENT, TAGS, accepted
from tests.support.deployments import ask, calmly, decide, finish, post, put_version
from tests.support.estate import Estate, Ran, estate, wait

METRICS_LAG = timedelta(minutes=3)
NEXT_LOOK = timedelta(minutes=3)  # a fifth of the bake
RESTORED_WITHIN = timedelta(minutes=2)
PROFILED_WITHIN = timedelta(hours=13)  # the deadline of a candidate, and what upkeep waits beyond it


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """Every endpoint's story, told to its end."""
    place = tmp_path_factory.mktemp("deploy")
    forget()  # clients of another world
    try:
        with mock.patch.dict(os.environ), estate(place, declarations()) as here:
            campaign = Campaign(here, place / "client")
            campaign.go_live([declared["name"] for declared in declarations()])
            campaign.run()
            yield campaign
    finally:
        forget()


@pytest.fixture
def here(campaign: Campaign) -> Iterator[Estate]:
    """The world at rest, and again after the test."""
    yield campaign.here
    campaign.here.world.control.clear_faults()
    assert violations(campaign.here) == []


def shares(here: Estate, endpoint: str, run: Ran) -> list[int]:
    """What the run's deployment was given, change by change, by the maps that Azure accepted."""
    name, found = deployment_name(run.id), [0]
    for event in accepted(here, endpoint):
        if event["traffic"].get(name, 0) != found[-1]:
            found.append(event["traffic"].get(name, 0))
    return found[1:]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def exposure(here: Estate, endpoint: str, run: Ran) -> tuple[timedelta, timedelta]:
    """From the first share to the failing verdict, and from there until the router had the map without it."""
    name, given, taken = deployment_name(run.id), None, None
    for event in here.world.control.events(type_="traffic_applied"):
        if event["endpoint"] == endpoint:
            if event["traffic"].get(name):
                given = given or at(event["time"])
            elif given and not taken:
                taken = at(event["time"])
    if given is None or taken is None:
        return timedelta(), timedelta()
    verdict = at(steps(here, run)[-1]["ended"])
    return verdict - given, taken - verdict


def window(endpoint: str) -> timedelta:
    """How long a step of the endpoint may be looked at: its bake, or how long nothing may be heard."""
    rollout = next(each for each in declarations() if each["name"] == endpoint)["rollout"]
    told = rollout["inconclusiveAfter" if endpoint.endswith("-metrics") else "bake"]
    return timedelta(minutes=int(told.removeprefix("PT").removesuffix("M")))


def steps(here: Estate, run: Ran) -> list[dict[str, Any]]:
    names = sorted(blob.name for blob in here.state.list_blobs(f"deployments/{run.id}/steps/"))
    return [here.read_json(here.state, name) for name in names]


def record(here: Estate, endpoint: str) -> dict[str, Any]:
    found: dict[str, Any] = here.read_json(here.state, f"endpoints/{endpoint}.json")
    return found


def test_what_ran_together_left_nothing_behind(campaign: Campaign) -> None:
    assert violations(campaign.here) == []


def test_a_good_model_takes_over_and_no_request_fails(campaign: Campaign) -> None:
    run, client = campaign.runs["good"], campaign.clients["good"]

    assert run.outcome["state"] == "Completed", run.outcome
    assert shares(campaign.here, "good", run) == [5, 25, 50, 100]
    assert client["failed"] == 0, client["failures"]
    assert client["answered"] == client["sent"] > 500
    assert all(set(answers) == {"200", "p50_ms", "p95_ms"} for answers in client["deployments"].values())
    assert len(client["deployments"]) == 2
    assert [step["outcome"] for step in steps(campaign.here, run)] == ["passed"] * 4


def test_the_one_who_asked_cannot_approve_and_the_endpoint_is_one_persons_at_a_time(
    campaign: Campaign,
) -> None:
    run, told = campaign.runs["good"], campaign.answers

    assert told["own word"][0] == 403 and "four eyes" in str(told["own word"][1])
    assert (told["again"][0], told["again"][1]["id"]) == (202, run.id)
    assert told["other body"][0] == 422
    assert told["busy"][0] == 409 and run.id in str(told["busy"][1])
    assert run.outcome["approved_by"]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_model_never_takes_over(campaign: Campaign, bad: Bad) -> None:
    here, run = campaign.here, campaign.runs[bad.name]
    given = shares(here, bad.endpoint, run)

    assert run.outcome["state"] == bad.state, run.outcome
    assert bad.caught in run.outcome["reason"], run.outcome["reason"]
    assert max(given, default=0) <= 10
    assert bool(given) == (not bad.endpoint.startswith("lane"))
    detected, restored = exposure(here, bad.endpoint, run)
    assert detected <= window(bad.endpoint) + METRICS_LAG + NEXT_LOOK
    assert restored <= RESTORED_WITHIN
    first = campaign.runs[f"{bad.endpoint} 1"]
    assert record(here, bad.endpoint)["live"]["run"] == first.id
    assert accepted(here, bad.endpoint)[-1]["traffic"].get(deployment_name(first.id)) == 100


def test_a_table_of_what_caught_each(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["", f"{'bad model':<22} {'most traffic':>12} {'seen after':>10} {'restored':>9}  how it ended"]
    for bad in (*BAD, *OTHERS):
        run = campaign.runs[bad.name]
        most = max(shares(campaign.here, bad.endpoint, run), default=0)
        seen, back = (
            f"{part.total_seconds():.0f} s" if most else ""
            for part in exposure(campaign.here, bad.endpoint, run)
        )
        lines.append(
            f"{bad.name:<22} {most:>10} % {seen:>10} {back:>9}  {bad.state}: {run.outcome['reason']:.90}"
        )
    with capsys.disabled():
        print("\n".join(lines))
    assert len(lines) == 2 + len(BAD) + len(OTHERS)


def test_an_image_that_cannot_be_built_is_named_with_its_log_and_a_remedy(campaign: Campaign) -> None:
    outcome = campaign.runs["image"].outcome

    assert outcome["state"] == "Failed"
    assert "ImageBuildFailure" in outcome["reason"] and outcome["remedy"]
    assert shares(campaign.here, "lane-a", campaign.runs["image"]) == []


def test_errors_at_a_quarter_of_the_traffic_bring_blue_back(campaign: Campaign) -> None:
    run = campaign.runs["poison"]

    assert run.outcome["state"] == "RolledBack", run.outcome
    assert shares(campaign.here, "late-fault", run) == [10, 25, 0]
    assert [step["outcome"] for step in steps(campaign.here, run)] == ["passed", "fail"]
    _, restored = exposure(campaign.here, "late-fault", run)
    assert restored <= RESTORED_WITHIN
    (kept,) = record(campaign.here, "late-fault")["kept"]
    assert kept["deployment"]["name"] == deployment_name(run.id)


def test_silence_promotes_nobody(campaign: Campaign) -> None:
    run = campaign.runs["quiet"]

    assert run.outcome["state"] == "Rejected", run.outcome
    assert shares(campaign.here, "quiet", run) == [10, 50, 0]
    assert [step["outcome"] for step in steps(campaign.here, run)] == ["approved", "reject"]


def test_green_has_the_size_that_its_profile_recommends(campaign: Campaign) -> None:
    here = campaign.here
    for run in (campaign.runs["sized 1"], campaign.runs["sized"]):
        profile = here.read_json(here.state, f"deployments/{run.id}/profile.json")
        small, elsewhere, large = profile["tried"]
        assert [(level["concurrency"], level["ok"]) for level in small["levels"]] == [(1, True), (4, False)]
        assert "429" in small["levels"][1]["reason"]
        assert elsewhere["reason"] and not elsewhere["levels"] and not elsewhere["usd"]
        assert [level["ok"] for level in large["levels"]] == [True, True]
        assert (
            profile["recommendation"]["chosen"] == large["deployment"] == profile_deployment_name(run.id, 3)
        )
        assert run.report["profile"]["lines"] == profile["lines"]
        assert run.outcome["usd"] > small["usd"] + large["usd"] > 0
    live = campaign.deployments("sized")[deployment_name(campaign.runs["sized"].id)]
    assert live["properties"]["instanceType"] == LARGE
    candidates = [
        event
        for event in here.world.control.events(type_="deployment")
        if "/deployments/p" in event["resource_id"]
    ]
    assert all(set(event["tags"]) >= TAGS for event in candidates if event["status"] == "Creating")
    assert not [
        name for event in accepted(here, "sized") for name in event["traffic"] if name.startswith("p")
    ]


def test_bad_bodies_at_a_managed_endpoint_are_their_sender_s_fault(campaign: Campaign) -> None:
    run, bad = campaign.runs["sized"], campaign.clients["sized, bad bodies"]

    assert run.outcome["state"] == "Completed", (run.outcome["reason"], run.outcome["steps"])
    assert shares(campaign.here, "sized", run) == [10, 50, 100]
    busy = {"429"}  # two processes at a fifth of a second, on a laptop that does much else
    assert all(
        "424" in answers and set(answers) <= {"424"} | busy for answers in bad["deployments"].values()
    ), bad
    assert bad["deployments"][deployment_name(run.id)]["424"] > 10
    good = campaign.clients["sized"]["deployments"].values()
    assert all(set(answers) <= {"200", "p50_ms", "p95_ms"} | busy for answers in good), good


def test_of_two_that_race_for_an_endpoint_one_has_it_and_the_other_is_told_who(campaign: Campaign) -> None:
    (won, winner), (lost, why) = campaign.answers["race won"], campaign.answers["race lost"]

    assert (won, lost) == (202, 409), why
    assert winner["id"] in str(why)
    assert campaign.runs["raced"].outcome["state"] == "Completed"
    assert record(campaign.here, "raced")["live"]["run"] == winner["id"]


def test_an_endpoint_that_is_deleted_under_a_rollout_ends_it(campaign: Campaign) -> None:
    outcome = campaign.runs["deleted"].outcome

    assert outcome["state"] == "Frozen", outcome
    assert any(word in outcome["reason"] for word in ("gone", "deleting", "absent")), outcome["reason"]


def test_conflicts_and_lost_answers_are_read_back_and_converge(campaign: Campaign) -> None:
    run = campaign.runs["conflicted"]

    assert run.outcome["state"] == "Completed", run.outcome
    assert shares(campaign.here, "conflicted", run) == [10, 50, 100]
    assert campaign.clients["conflicted"]["failed"] == 0


def test_traffic_that_cannot_be_taken_back_freezes_the_endpoint_until_a_person_has_looked(
    campaign: Campaign,
) -> None:
    here, run = campaign.here, campaign.runs["cannot be taken back"]
    assert run.outcome["state"] == "Frozen", run.outcome
    assert run.outcome["commands"] and record(here, "frozen")["frozen"]

    here.world.control.clear_faults()
    status, answer = post(here, f"deployments/{run.id}/rollback", "default")

    assert status == 202, answer
    first = campaign.runs["frozen 1"]
    calmly(
        lambda: accepted(here, "frozen")[-1]["traffic"].get(deployment_name(first.id)) == 100,
        "blue to be back",
    )
    calmly(lambda: record(here, "frozen")["holder"] is None, "the endpoint to be free")
    assert not record(here, "frozen")["frozen"]
    # Green's time was over while the endpoint was frozen, which upkeep leaves alone: it goes at the next pass.
    calmly(lambda: violations(here) == [], "the endpoint to be at rest")


def test_within_its_hold_the_model_before_comes_back_at_a_word(campaign: Campaign, here: Estate) -> None:
    run, before = campaign.runs["good"], campaign.runs["good 1"]

    status, answer = post(here, f"deployments/{run.id}/rollback", "default")

    assert status == 202, answer
    calmly(lambda: record(here, "good")["live"]["run"] == before.id, "version 1 to be live again")
    calmly(lambda: record(here, "good")["holder"] is None, "the endpoint to be free")
    assert accepted(here, "good")[-1]["traffic"].get(deployment_name(before.id)) == 100


def test_a_clock_that_jumps_promotes_nobody(campaign: Campaign, here: Estate) -> None:
    put_version(here, "quiet-model", "3")
    run = ask(here, "quiet", "3")
    wait(lambda: shares(here, "quiet", run) == [10], "its first share", 120)
    here.world.clock.advance(timedelta(hours=3))
    assert decide(here, run, "reject", number=1)[0] == 200
    finish(here, run)

    assert run.outcome["state"] == "Rejected", run.outcome
    assert shares(here, "quiet", run) == [10, 0]


def test_a_candidate_of_a_run_that_was_killed_is_deleted_by_upkeep(campaign: Campaign, here: Estate) -> None:
    put_version(here, "sized-model", "3")
    run = ask(here, "sized", "3")
    candidate = profile_deployment_name(run.id, 1)
    calmly(lambda: candidate in campaign.deployments("sized"), "the first candidate")
    here.world.terminate(run.id)

    here.world.clock.advance(PROFILED_WITHIN)

    calmly(lambda: candidate not in campaign.deployments("sized"), "upkeep to delete the candidate")
    calmly(lambda: record(here, "sized")["holder"] is None, "the endpoint to be free")
    assert record(here, "sized")["live"]["run"] == campaign.runs["sized"].id


def test_when_the_hold_is_over_one_deployment_is_left(campaign: Campaign, here: Estate) -> None:
    here.world.clock.advance(timedelta(hours=25))

    def left() -> list[str]:
        return sorted(r["id"].split("/")[-3] for r in here.world.control.resources(DEPLOYMENT))

    endpoints = sorted(declared["name"] for declared in declarations() if declared["name"] != "deleted")
    calmly(lambda: left() == endpoints, "one deployment of each endpoint")
