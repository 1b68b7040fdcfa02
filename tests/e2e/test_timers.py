"""Timers and starting once, at the running app: every slot is one run, or waits, or is on record as skipped.

A world of its own, whose clock starts on a day before the clocks change; each workload has slots on one day only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
import yaml

from shared.azure import ledger
from shared.domain import names
from shared.domain.schedule import MAX_LISTED, Slot, due_slots, preview
from shared.domain.scoring import ScoreRequest
from shared.domain.workload import BatchScoring
from shared.triggers.workloads import read_workload
from tests.e2e.timed import (
    DECLARATIONS,
    MINUTE,
    START,
    at,
    at_work,
    considered,
    finished,
    on,
    record,
    scheduled,
    slots_run,
    starts,
    timed,
)
from tests.support.checker import violations
from tests.support.estate import SPEED, Estate, Ran, estate, wait
from tests.support.host import Host


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    # A world sets the environment of this process; another one may be running for the rest of the folder.
    place = tmp_path_factory.mktemp("timers")
    with mock.patch.dict(os.environ), estate(place, DECLARATIONS, start=START) as running:
        yield running


@pytest.fixture(scope="module")
def host(world: Estate) -> Host:
    return Host(world)


@pytest.fixture(autouse=True)
def _sound(world: Estate, host: Host) -> Iterator[None]:
    """After each test: nothing is left, no tick has failed, and each workload's slots are accounted for."""
    since = len(world.world.control.events())
    world.world.clock.set_speed(SPEED)
    yield
    world.world.clock.set_speed(SPEED)
    wait(lambda: not at_work(world), "every run to be over")
    assert violations(world, since=since) == []
    assert set(host.ticks()) == {"Succeeded"}


def test_nothing_fires_because_a_schedule_was_switched_on(world: Estate, host: Host) -> None:
    """Its slot of an hour ago is not made good: it was due before anybody had declared it."""
    host.ticked(host.next_tick() + 2 * MINUTE)
    assert slots_run(world, "switched-on") == []
    assert record(world, "switched-on")["skipped"] == []


def test_a_slot_is_one_run_however_often_the_timer_fires(world: Estate, host: Host) -> None:
    slot = at(21, 10)
    host.approach(slot)
    with ThreadPoolExecutor(4) as together:
        list(together.map(lambda _: host.tick(), range(4)))
    world.world.clock.set_speed(SPEED)
    host.tick()
    run = finished(world, "many-ticks", slot)
    before = len(host.ticks())
    host.tick()
    host.ticked(slot + 5 * MINUTE)
    wait(lambda: len(host.ticks()) > before, "the last ticks to end")
    assert slots_run(world, "many-ticks") == [run.slot]
    assert starts(world, run.id) == 1
    assert record(world, "many-ticks")["skipped"] == []


def test_a_slot_asked_for_over_http_is_the_timers_run(world: Estate, host: Host) -> None:
    slot = at(21, 12)
    host.approach(slot, by=timedelta(minutes=2))
    body = {"workload": "asked-twice", "slot": "2026-03-21T13:00:00+01:00"}
    status, first = world.world.api("runs", method="POST", body=body)
    assert (status, first["fresh"]) == (202, True)
    world.world.clock.set_speed(SPEED)
    run = finished(world, "asked-twice", slot)
    host.ticked(slot + MINUTE)
    status, again = world.world.api("runs", method="POST", body=body)
    assert (status, again["fresh"], again["id"]) == (202, False, first["id"])
    assert slots_run(world, "asked-twice") == [run.slot]
    assert starts(world, run.id) == 1
    assert record(world, "asked-twice")["skipped"] == []


@pytest.mark.parametrize("key", ["one", "two", "three"])
def test_a_request_sent_many_times_at_once_is_one_run(world: Estate, key: str) -> None:
    def post(_: int) -> tuple[int, Any]:
        headers = {"Idempotency-Key": key}
        return world.world.api("runs", method="POST", body={"workload": "never-timed"}, headers=headers)

    run = world.expect("never-timed", key=key)
    with ThreadPoolExecutor(12) as together:
        answers = list(together.map(post, range(12)))
    assert [(status, answer["id"]) for status, answer in answers] == [(202, run.id)] * 12
    assert sum(answer["fresh"] for _, answer in answers) == 1
    world.finish(run)
    assert starts(world, run.id) == 1


@pytest.mark.parametrize(
    ("workload", "slot", "said"),
    [
        ("asked-twice", "2026-03-21T12:00:01Z", "the next ones are 2027-03-21T12:00:00+00:00"),
        ("never-timed", "2026-03-21T12:00:00Z", "has no schedule"),
    ],
)
def test_what_is_no_slot_of_the_workload_is_refused(
    world: Estate, workload: str, slot: str, said: str
) -> None:
    status, problem = world.world.api("runs", method="POST", body={"workload": workload, "slot": slot})
    assert status == 400
    (fault,) = problem["errors"]
    assert fault["path"] == "slot"
    assert said in fault["message"]


def test_after_an_outage_the_latest_slot_runs_once_or_none_as_declared(world: Estate, host: Host) -> None:
    """The app goes down right before the first slot, so that the firing made good at its start stands for that one.

    A slot that somebody had asked for before is not one that was missed.
    """
    clock, up_again = world.world.clock, at(22, 12, 20)
    host.approach(at(22, 10))
    asked = scheduled("late-skips", at(22, 10, 5))
    world.world.api("runs", method="POST", body={"workload": "late-skips", "slot": "2026-03-22T10:05:00Z"})
    world.finish(asked)
    world.world.stop_app()
    clock.advance(up_again - clock.now())
    world.world.start_app()
    clock.set_speed(SPEED)
    finished(world, "late-runs-once", at(22, 10, 10))
    finished(world, "late-for-long", at(22, 11, 59))
    host.ticked(up_again + 2 * MINUTE)
    missed = ["20260322T100000Z", "20260322T100500Z", "20260322T101000Z"]
    assert slots_run(world, "late-runs-once") == missed[2:]
    assert record(world, "late-runs-once")["skipped"] == missed[:2]
    assert slots_run(world, "late-skips") == [asked.slot]
    assert record(world, "late-skips")["skipped"] == [missed[0], missed[2]]
    assert slots_run(world, "late-for-long") == ["20260322T115900Z"]
    _assert_all_skipped_before_the_last(record(world, "late-for-long"))


def _assert_all_skipped_before_the_last(late: dict[str, Any]) -> None:
    """120 slots passed; those too old to be listed one by one are on record as a stretch."""
    (stretch,) = late["unlisted"]
    listed = [datetime.strptime(slot, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for slot in late["skipped"]]
    assert len(listed) == MAX_LISTED
    assert datetime.fromisoformat(stretch["until"]) == listed[0] - MINUTE
    assert datetime.fromisoformat(stretch["after"]) < at(22, 10)
    assert listed[-1] == at(22, 11, 58)


def test_an_edited_schedule_counts_from_when_it_was_edited(world: Estate, host: Host) -> None:
    clock, noon = world.world.clock, at(22, 13)
    host.approach(noon)
    world.world.stop_app()
    edited = timed("edited", on(22, "0 11,14"))
    (world.world.state / "workloads" / "edited.yaml").write_text(yaml.safe_dump(edited))
    world.world.start_app()
    clock.set_speed(SPEED)
    host.ticked(noon + 2 * MINUTE)
    assert slots_run(world, "edited") == []
    host.approach(at(22, 14))
    clock.set_speed(SPEED)
    finished(world, "edited", at(22, 14))


def test_a_slot_that_overlaps_is_skipped_and_on_record(world: Estate, host: Host) -> None:
    first, last = at(23, 10), at(23, 10, 59)
    busy = _hold(world, host, "overlap-skips", first)
    host.tick_at(at(23, 10, 5))
    status, problem = world.world.api("runs", method="POST", body={"workload": "overlap-skips"})
    assert status == 409
    assert busy.id in problem["detail"]
    _let_go(world, host, busy)
    world.finish(busy)
    host.tick_at(last)
    world.world.clock.set_speed(SPEED)
    finished(world, "overlap-skips", last)
    assert slots_run(world, "overlap-skips") == [busy.slot, Slot(at=last).id]
    assert record(world, "overlap-skips")["skipped"] == ["20260323T100500Z"]


def test_slots_that_queue_run_after_one_another(world: Estate, host: Host) -> None:
    """Longer than a missed slot is tolerated: waiting for one's turn is no misfire."""
    busy = _hold(world, host, "overlap-queues", at(24, 10))
    for minute in (5, 10, 20):
        host.tick_at(at(24, 10, minute))
    waiting = [slot["at"] for slot in record(world, "overlap-queues")["queued"]]
    assert waiting == ["2026-03-24T10:05:00Z", "2026-03-24T10:10:00Z"]
    _let_go(world, host, busy)
    finished(world, "overlap-queues", at(24, 10, 10))
    assert slots_run(world, "overlap-queues") == ["20260324T100000Z", "20260324T100500Z", "20260324T101000Z"]
    wait(lambda: record(world, "overlap-queues")["queued"] == [], "the queue to be empty")
    assert record(world, "overlap-queues")["skipped"] == []
    runs = [world.read_json(world.state, f"runs/score-overlap-queues-{s}/outcome.json")
            for s in slots_run(world, "overlap-queues")]  # fmt: skip
    assert all(before["ended"] <= after["started"] for before, after in pairwise(runs))


def _hold(world: Estate, host: Host, workload: str, slot: datetime) -> Ran:
    """The run of `slot`, started by its timer and kept from going on. The clock stands still."""
    world.land(workload, 1)
    host.tick_at(slot)
    run = scheduled(workload, slot)
    wait(lambda: run.slot in slots_run(world, workload), f"{run.id} to be started")
    host.steer(run.id, "suspend")
    wait(lambda: host.state(run.id) == "Suspended", f"{run.id} to be held")
    return run


def _let_go(world: Estate, host: Host, run: Ran) -> None:
    """Let the run go on, and the clock with it."""
    host.steer(run.id, "resume")
    wait(lambda: host.state(run.id) != "Suspended", f"{run.id} to go on")
    world.world.clock.set_speed(SPEED)


def test_a_claim_whose_start_was_lost_is_started_by_the_next_tick(world: Estate, host: Host) -> None:
    run = Ran(id=names.score_run_id("never-timed", "manual-00000000000000aa"), slot="manual-00000000000000aa")
    _claim(world, run)
    wait(lambda: run.slot in slots_run(world, "never-timed"), "the tick to start it")
    world.finish(run)
    wait(lambda: not list(world.state.list_blobs("claims/unstarted/")), "the marker to go")
    assert starts(world, run.id) == 1


def test_a_marker_without_a_claim_starts_nothing(world: Estate, host: Host) -> None:
    """The crash was before the claim. Whoever comes next claims and starts it as if nothing had been."""
    run = world.expect("never-timed", key="lost")
    _mark(world, run)
    host.ticked(host.next_tick())
    assert run.slot not in slots_run(world, "never-timed")
    assert world.score("never-timed", key="lost").outcome["state"] == "NothingNew"
    assert not list(world.state.list_blobs("claims/unstarted/"))


def test_a_run_that_was_purged_is_not_run_again(world: Estate, host: Host) -> None:
    run = world.score("never-timed", key="purged")
    host.purge(run.id)
    _mark(world, run)  # as if the crash had come between the start and the removal of the marker
    wait(lambda: not list(world.state.list_blobs("claims/unstarted/")), "the tick to see that it is over")
    _assert_not_started_again(world, host, run, "purged")
    status, report = world.world.api(f"runs/{run.id}")
    assert (status, report["state"]) == (200, "NothingNew"), "how it ended is on record"


def test_a_run_that_was_terminated_and_purged_is_not_run_again(world: Estate, host: Host) -> None:
    world.land("never-timed", 1)
    run = world.start("never-timed", key="terminated")
    world.world.terminate(run.id)
    wait(lambda: host.state(run.id) == "Terminated", f"{run.id} to be terminated")
    wait(
        lambda: not world.machines() and world.world.api("leases")[1]["leases"] == [],
        "the reaper to clean up",
    )
    host.purge(run.id)
    _assert_not_started_again(world, host, run, "terminated")


def _assert_not_started_again(world: Estate, host: Host, run: Ran, key: str) -> None:
    status, answer = world.world.api(
        "runs", method="POST", body={"workload": "never-timed"}, headers={"Idempotency-Key": key}
    )
    assert (status, answer["id"], answer["fresh"]) == (202, run.id, False)
    host.ticked(host.next_tick())
    assert host.instance(run.id) is None
    assert starts(world, run.id) == 1


def _claim(world: Estate, run: Ran) -> None:
    """What shared/triggers/start.py has written when it dies between claim and start."""
    workload = read_workload(world.world.state / "workloads" / "never-timed.yaml")
    assert isinstance(workload, BatchScoring)
    request = ScoreRequest(run=run.id, slot=run.slot, workload=workload, started_by="timer")
    _mark(world, run)
    claim = {"request": request.model_dump(mode="json"), "fingerprint": ""}
    world.state.upload_blob(f"claims/{run.id}.json", ledger.encode(claim))


def _mark(world: Estate, run: Ran) -> None:
    world.state.upload_blob(f"claims/unstarted/{run.id}.json", ledger.encode({"run": run.id}))


@pytest.fixture(scope="module")
def undisturbed(world: Estate) -> dict[str, bytes]:
    """What a run publishes of the inputs that the runs whose app is killed have too."""
    world.land("same-inputs", 5)
    return _parts(world, world.score("undisturbed"), "undisturbed")


@pytest.mark.parametrize(
    ("workload", "moment"),
    [("killed", "job"), ("killed-on-a-vm", "to be ready"), ("killed-on-a-vm", "job")],
)
def test_a_run_whose_app_is_killed_ends_as_if_nothing_had_been(
    world: Estate, undisturbed: dict[str, bytes], workload: str, moment: str
) -> None:
    run = world.start(workload, key=moment)
    world.until(run, lambda report: moment in report["waiting_for"])
    world.world.kill_app()
    world.world.start_app()
    world.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["receipt"]["listed"] == run.outcome["receipt"]["scored"] == 5
    assert [charge["epoch"] for charge in run.outcome["charges"]] == [1]
    assert _parts(world, run, workload) == undisturbed != {}
    assert starts(world, run.id) == 1


def _parts(world: Estate, run: Ran, workload: str) -> dict[str, bytes]:
    return {n: data for n, data in world.published(run, workload).items() if n.startswith("part-")}


def test_a_time_that_spring_skips_runs_once_when_the_clocks_jump(world: Estate, host: Host) -> None:
    _assert_one_run_of_the_night(world, host, "spring", at(29, 1), until=at(29, 2))


def test_a_time_that_autumn_repeats_runs_the_first_time_only(world: Estate, host: Host) -> None:
    _assert_one_run_of_the_night(
        world, host, "autumn", at(25, 0, 30, month=10), until=at(25, 1, 30, month=10)
    )


def _assert_one_run_of_the_night(
    world: Estate, host: Host, workload: str, slot: datetime, *, until: datetime
) -> None:
    """`until` is when the wall clock in Paris shows 02:30, or what stands for it, once more."""
    host.approach(slot, by=2 * MINUTE)
    world.world.clock.set_speed(SPEED)
    host.ticked(slot - MINUTE)
    finished(world, workload, slot)
    host.approach(until)
    world.world.clock.set_speed(SPEED)
    host.ticked(until + 2 * MINUTE)
    assert slots_run(world, workload) == [Slot(at=slot).id]
    assert record(world, workload)["skipped"] == []


def test_every_slot_of_these_months_is_accounted_for(world: Estate) -> None:
    """Run once, or on record as skipped; those that nobody lists are in a stretch of the record."""
    for one in DECLARATIONS:
        workload = read_workload(world.world.state / "workloads" / f"{one['name']}.yaml")
        if workload.schedule is None or workload.name == "edited":
            continue
        found = record(world, workload.name)
        first, last = datetime.fromisoformat(found["first_seen"]), considered(world, workload.name)
        due = [s for s in preview(workload.schedule, first, 200) if s.at <= last]
        unlisted = [
            s.id for stretch in found["unlisted"] for s in due if s.at.isoformat() <= stretch["until"]
        ]
        ran = [s for s in slots_run(world, workload.name) if not s.startswith("manual-")]
        assert sorted([*ran, *found["skipped"], *unlisted]) == [s.id for s in due], workload.name
        assert due_slots(workload.schedule, last, world.world.clock.now()).run == ()
