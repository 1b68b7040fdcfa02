"""Several jobs on one leased cluster: all are followed, none hides another, and the history stays small."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrators.jobs import MAX_ATTEMPTS, NODE_DEADLINE
from shared.domain import names
from shared.domain.errors import AppError, Cancelled, CapacityError, JobFailed, PlatformError, from_failure
from shared.domain.jobs import (
    JobGlance,
    JobLook,
    JobReport,
    JobRequest,
    JobsQuery,
    JobsReport,
    JobState,
    WrittenJob,
)
from shared.domain.scoring import BatchOutcome, BatchRequest, WriteJobRequest
from shared.domain.wire import Wire
from shared.domain.workload import MAX_INSTANCES
from shared.durable import contracts
from shared.durable.wire import MAX_PAYLOAD_BYTES
from tests.durable.night import DONE, OFFERS, RUN, Night, _blob, batch
from tests.durable.stage import Stage, stage

BATCH = f"{RUN}.b00"
MAX_EVENTS = 2000
FAILED = JobReport(look=JobLook(state=JobState.FAILED, exit_code=3, message="boom"))
PREEMPTED = JobReport(look=JobLook(state=JobState.FAILED, preempted=True))
LOST = JobReport(look=JobLook(state=JobState.RUNNING, machine_lost=True, message="the cluster is gone"))


class ClusterNight(Night):
    """Jobs run for `looks` glances each; `ends` says how a job ends, if not well. `waiting` are never given a node."""

    def __init__(self, looks: int = 2) -> None:
        super().__init__()
        self.looks = looks
        self.ends: dict[str, JobReport] = {}
        self.waiting: set[str] = set()
        self._glances: dict[str, int] = {}

    def write_job(self, payload: Any) -> Wire:
        asked = WriteJobRequest.model_validate(payload)
        job = names.job_id(asked.batch.index, asked.epoch, asked.attempt)
        return WrittenJob(
            job=JobRequest(id=job, agent=_blob("code.zip"), job=_blob(f"jobs/{job}.json")), open_shards=2
        )

    def observe_jobs(self, payload: Any) -> Wire:
        return JobsReport(
            jobs=tuple(self._glance(job.id) for job in JobsQuery.model_validate(payload).jobs),
            poll_after_s=30.0,
        )

    def observe_job(self, payload: Any) -> Wire:
        return self.ends.get(payload["job"], DONE)

    def _glance(self, job: str) -> JobGlance:
        if job in self.waiting:
            return JobGlance(id=job, state=JobState.PENDING)
        count = self._glances[job] = self._glances.get(job, 0) + 1
        state = JobState.SUCCEEDED if count > self.looks else JobState.RUNNING
        return JobGlance(id=job, state=state, is_over=state.is_over, seen="2026-03-01T02:00:00.000000+00:00")


@pytest.fixture
def night() -> ClusterNight:
    return ClusterNight()


@pytest.fixture
def azure(night: ClusterNight) -> Iterator[Stage]:
    with stage(night) as made:
        yield made


def cluster(nodes: int = 2, **changes: Any) -> BatchRequest:
    return batch(**changes).model_copy(update={"shares_machine": True, "further": tuple(range(1, nodes))})


def score(azure: Stage, request: BatchRequest) -> BatchOutcome:
    return azure.outcome(contracts.SCORE_SHARDS, request, BATCH)


def error(outcome: BatchOutcome) -> AppError:
    assert outcome.failure is not None
    return from_failure(outcome.failure)


def submitted(azure: Stage) -> list[str]:
    return [step.job.id for step in azure.of(contracts.SUBMIT_JOB)]


def test_every_batch_is_queued_at_once_under_one_lease_with_a_node_for_each(azure: Stage) -> None:
    outcome = score(azure, cluster(3))

    assert outcome.failure is None
    assert submitted(azure) == ["b00-e1", "b01-e1", "b02-e1"]
    assert {step.lease.nodes for step in azure.of(contracts.SUBMIT_JOB)} == {3}
    assert len(azure.of(contracts.BEGIN_PROVISION)) == 1
    assert azure.steps(contracts.SUBMIT_JOB, contracts.OBSERVE_JOBS)[:3] == ["submit_job"] * 3


def test_one_batch_on_a_cluster_is_one_job_followed_the_same_way(azure: Stage) -> None:
    assert score(azure, cluster(1)).failure is None
    assert submitted(azure) == ["b00-e1"]
    assert azure.of(contracts.OBSERVE_JOBS)


def test_a_job_that_fails_is_told_after_all_others_are_over(azure: Stage, night: ClusterNight) -> None:
    night.ends["b00-e1"] = FAILED

    failure = error(score(azure, cluster(3)))

    assert isinstance(failure, JobFailed) and "b00-e1" in str(failure) and "boom" in str(failure)
    assert {query.job for query in azure.of(contracts.OBSERVE_JOB)} == {"b00-e1", "b01-e1", "b02-e1"}


def test_a_job_without_its_node_is_followed_by_another_on_the_same_cluster(
    azure: Stage, night: ClusterNight
) -> None:
    night.ends["b01-e1"] = PREEMPTED

    assert score(azure, cluster()).failure is None
    assert submitted(azure) == ["b00-e1", "b01-e1", "b01-e1r2"]
    assert len(azure.of(contracts.BEGIN_PROVISION)) == 1


def test_a_batch_that_loses_one_node_after_the_other_loses_the_cluster(
    azure: Stage, night: ClusterNight
) -> None:
    night.ends |= {names.job_id(1, 1, attempt): PREEMPTED for attempt in range(1, MAX_ATTEMPTS + 1)}

    outcome = score(azure, cluster())

    assert outcome.failure is None
    assert [lease.epoch for lease in azure.of(contracts.BEGIN_PROVISION)] == [1, 2]
    assert submitted(azure)[-2:] == ["b00-e2", "b01-e2"]


def test_a_cluster_that_is_gone_is_replaced(azure: Stage, night: ClusterNight) -> None:
    night.ends["b00-e1"] = LOST

    assert score(azure, cluster()).failure is None
    assert [lease.epoch for lease in azure.of(contracts.BEGIN_PROVISION)] == [1, 2]


def test_no_node_for_twenty_minutes_takes_the_next_offer(azure: Stage, night: ClusterNight) -> None:
    night.waiting = {"b00-e1", "b01-e1"}

    outcome = score(azure, cluster())

    assert outcome.failure is None
    assert outcome.setbacks == (f"refused: {OFFERS[0]}",)
    begun = azure.when(contracts.BEGIN_PROVISION)
    assert NODE_DEADLINE <= begun[1] - begun[0] < NODE_DEADLINE + timedelta(minutes=10)


def test_no_node_anywhere_says_so(azure: Stage, night: ClusterNight) -> None:
    night.waiting = {f"b0{n}-e{epoch}" for n in (0, 1) for epoch in (1, 2)}

    failure = error(score(azure, cluster()))

    assert isinstance(failure, CapacityError) and "no node came" in str(failure)


def test_while_one_job_works_another_may_wait_for_its_turn(azure: Stage, night: ClusterNight) -> None:
    night.looks = 30
    night.waiting = {"b01-e1"}

    assert score(azure, cluster()).failure is None

    (ended,) = [c.at for c in azure.calls if c.step == "observe_job" and c.payload["job"] == "b00-e1"]
    begun = azure.when(contracts.BEGIN_PROVISION)
    assert ended - begun[0] > timedelta(minutes=10)
    assert begun[1] - ended >= NODE_DEADLINE


def test_a_cancellation_ends_every_job_and_the_lease(azure: Stage, night: ClusterNight) -> None:
    night.looks = 50
    azure.script(contracts.OBSERVE_JOBS, JobsReport(jobs=(), cancel_requested=True))

    score(azure, cluster(3))

    assert {query.job for query in azure.of(contracts.CANCEL_JOB)} == {"b00-e1", "b01-e1", "b02-e1"}
    assert azure.steps(contracts.CLOSE_LEASE) == ["close_lease"]


def test_a_job_that_azure_does_not_cancel_keeps_no_other_from_being_asked(
    azure: Stage, night: ClusterNight
) -> None:
    night.looks = 50
    azure.script(contracts.OBSERVE_JOBS, JobsReport(jobs=(), cancel_requested=True))
    azure.script(contracts.CANCEL_JOB, PlatformError("the first is refused"))

    failure = error(score(azure, cluster(2)))

    assert isinstance(failure, Cancelled)
    assert [query.job for query in azure.of(contracts.CANCEL_JOB)] == ["b00-e1", "b01-e1"]


def test_the_largest_cluster_and_the_longest_run_keep_history_and_payloads_small(
    azure: Stage, night: ClusterNight
) -> None:
    night.looks = 100

    score(azure, cluster(MAX_INSTANCES, limits={"deadline": "PT6H", "ttl": "PT7H"}))

    history = azure.history(BATCH)
    assert len(history.events) < MAX_EVENTS
    assert history.largest_payload < MAX_PAYLOAD_BYTES / 2
