"""Inputs are frozen once, and each machine gets the shards that nobody has committed."""

from __future__ import annotations

import json

import pytest

from activities import data
from shared.azure import blob
from shared.domain.jobs import BlobRef
from shared.domain.scoring import WriteJobRequest
from tests.activities.runs import INPUTS, PREFIX, Run, workload

pytestmark = pytest.mark.usefixtures("cloud")


def test_every_input_is_in_one_shard_and_every_shard_in_one_batch() -> None:
    run = Run(workload(compute={"instances": 2}))

    assert sorted(i.blob for s in run.shards for i in s.items) == [PREFIX + name for name in INPUTS]
    assert sum(batch.shards for batch in run.inputs.batches) == len(run.shards) == 3
    assert len(run.inputs.batches) == 2


def test_inputs_that_were_frozen_stay_frozen() -> None:
    run = Run(workload(input={"prefix": PREFIX, "pattern": "[a-d].parquet"}))
    first = run.inputs

    grown = run.request.workload.input.model_copy(update={"pattern": "a.parquet"})
    run.request = run.request.model_copy(
        update={"workload": run.workload.model_copy(update={"input": grown})}
    )

    assert run.freeze() == first


def test_what_may_still_be_written_to_is_left_for_the_next_run() -> None:
    run = Run(workload(input={"settle": "PT1H"}))

    assert run.inputs.items == 0


def test_only_what_the_pattern_means_is_listed() -> None:
    run = Run(workload(input={"pattern": "[ab].parquet"}))

    assert [i.blob for s in run.shards for i in s.items] == [f"{PREFIX}a.parquet", f"{PREFIX}b.parquet"]


def _job(run: Run, epoch: int) -> tuple[BlobRef | None, list[str]]:
    written = data.write_job(WriteJobRequest(batch=run.batch, epoch=epoch))
    if written.job is None:
        return None, []
    stored = json.loads(blob.read(written.job.job.container, written.job.job.blob))
    return written.job.job, [shard["id"] for shard in stored["shards"]]


def test_a_second_machine_gets_only_the_shards_without_a_record() -> None:
    run = Run(workload())
    ids = [shard.id for shard in run.shards]
    assert _job(run, 1)[1] == ids

    run.commit(run.shards[0])

    assert _job(run, 2)[1] == ids[1:]


def test_a_job_that_was_written_is_the_same_job_whatever_was_committed_since() -> None:
    run = Run(workload())
    first = _job(run, 1)

    run.commit(run.shards[0])

    assert _job(run, 1) == first


def test_there_is_no_job_when_every_shard_is_committed() -> None:
    run = Run(workload())
    run.score()

    assert _job(run, 1) == (None, [])
