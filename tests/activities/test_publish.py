"""Publishing: all of a run's scores with proof, once, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.azure import blob, ledger, watermarks
from shared.domain.errors import AppError, Cancelled, ConflictError, JobFailed
from tests.activities.runs import INPUTS, Run, workload
from tests.support.cloud import Cloud

RIVALS, ROUNDS = 8, 3

pytestmark = pytest.mark.usefixtures("cloud")


@pytest.fixture
def run() -> Run:
    run = Run(workload())
    run.score()
    return run


def _json(name: str) -> Any:
    return json.loads(blob.read("scores", name))


def test_what_is_published_is_every_part_its_receipt_and_the_word_of_success(run: Run) -> None:
    receipt = run.publish()

    parts = {f"part-{s.id}-{s.key}.parquet" for s in run.shards}
    assert run.output() == {*parts, "_MANIFEST.json", "_SUCCESS"}
    assert (receipt.listed, receipt.scored, receipt.quarantined) == (len(INPUTS), len(INPUTS), 0)
    manifest = blob.read("scores", f"{run.path}_MANIFEST.json")
    assert _json(f"{run.path}_SUCCESS") == {"run": run.id, "manifest": hashlib.sha256(manifest).hexdigest()}


def test_publishing_again_gives_the_same_receipt(run: Run) -> None:
    assert run.publish() == run.publish()


def test_a_shard_that_nobody_committed_keeps_everything_from_being_published() -> None:
    run = Run(workload())
    for shard in run.shards[1:]:
        run.commit(shard)

    with pytest.raises(JobFailed, match="no commit record"):
        run.publish()

    assert not {"_MANIFEST.json", "_SUCCESS"} & run.output()


def test_a_part_that_is_not_what_was_committed_keeps_everything_from_being_published(run: Run) -> None:
    shard = run.shards[0]
    run.write_part(shard.model_copy(update={"key": shard.key}))
    blob._service().get_blob_client(
        "scores", f"{run.path}part-{shard.id}-{shard.key}.parquet"
    ).set_blob_metadata({"sha256": "0" * 64})

    with pytest.raises(JobFailed, match="not what was committed"):
        run.publish()

    assert not {"_MANIFEST.json", "_SUCCESS"} & run.output()


@pytest.mark.parametrize(("ratio", "is_published"), [(0.75, True), (0.76, False)])
def test_so_many_may_be_quarantined_and_no_more(ratio: float, is_published: bool) -> None:
    run = Run(workload(fanout={"minSuccessRatio": ratio}))
    run.score(bad=1)

    if is_published:
        assert run.publish().quarantined == 1
    else:
        with pytest.raises(JobFailed, match="1 of 4 inputs could not be scored"):
            run.publish()

    assert ("_SUCCESS" in run.output()) is is_published


def test_a_cancelled_run_publishes_nothing(run: Run) -> None:
    ledger.request_cancel(run.id, who="test", reason="enough")

    with pytest.raises(Cancelled):
        run.publish()

    assert not {"_MANIFEST.json", "_SUCCESS"} & run.output()


def test_a_receipt_that_is_there_with_other_content_is_neither_overwritten_nor_vouched_for(run: Run) -> None:
    blob.create_only("scores", f"{run.path}_MANIFEST.json", b"somebody else's")

    with pytest.raises(JobFailed, match="not overwritten"):
        run.publish()

    assert "_SUCCESS" not in run.output()
    assert blob.read("scores", f"{run.path}_MANIFEST.json") == b"somebody else's"


def test_of_two_runs_that_froze_the_same_inputs_the_second_publishes_nothing(run: Run) -> None:
    second = Run(run.workload)
    second.score()
    run.publish()

    with pytest.raises(ConflictError, match="published inputs of"):
        second.publish()

    assert not {"_MANIFEST.json", "_SUCCESS"} & second.output()


def test_of_many_runs_at_the_same_moment_exactly_one_may_publish() -> None:
    for _ in range(ROUNDS):
        shared = workload()
        rivals = [Run(shared) for _ in range(RIVALS)]
        requests = [rival.publishing for rival in rivals]
        start = threading.Barrier(RIVALS)

        def claim(index: int, start: Any = start, requests: Any = requests) -> bool:
            start.wait()
            try:
                watermarks.claim(requests[index])
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(RIVALS) as pool:
            assert sum(pool.map(claim, range(RIVALS))) == 1


def test_what_is_published_is_not_listed_again(run: Run) -> None:
    run.publish()

    assert Run(run.workload).inputs.items == 0


def test_a_run_that_died_after_its_word_of_success_has_published(run: Run) -> None:
    watermarks.claim(run.publishing)
    blob.create_only("scores", f"{run.path}_SUCCESS", b"{}")

    assert Run(run.workload).inputs.items == 0


def test_a_run_that_died_before_its_word_of_success_leaves_its_inputs_to_the_next(run: Run) -> None:
    watermarks.claim(run.publishing)

    successor = Run(run.workload)
    assert successor.inputs.items == len(INPUTS)
    successor.score()
    successor.publish()

    with pytest.raises(ConflictError):
        run.publish()
    assert "_SUCCESS" not in run.output()


def test_a_run_that_was_cut_off_anywhere_while_it_published_carries_on(run: Run) -> None:
    whole = Run(workload())
    whole.score()
    expected = whole.publish()

    watermarks.claim(run.publishing)
    receipt = run.publish()

    assert receipt.model_copy(update={"manifest": None, "success": None}) == expected.model_copy(
        update={"manifest": None, "success": None}
    )
    assert Run(run.workload).inputs.items == 0


def test_a_watermark_that_another_run_moved_cannot_be_settled(run: Run) -> None:
    successor = Run(run.workload)
    watermarks.claim(successor.publishing)

    with pytest.raises(AppError, match="is gone"):
        watermarks.settle(run.publishing)


def test_discarding_takes_back_a_failed_run_s_parts_with_record_or_without(run: Run) -> None:
    orphan = run.shards[0].model_copy(update={"id": "00099"})
    run.write_part(orphan)

    run.discard()

    assert run.output() == set()


def test_discarding_takes_back_the_receipt_of_a_run_that_failed_while_it_published(run: Run) -> None:
    run.publish()
    blob.delete("scores", f"{run.path}_SUCCESS")

    run.discard()

    assert run.output() == set()


def test_discarding_leaves_what_is_somebody_else_s(run: Run) -> None:
    blob.create_only("scores", f"{run.path}notes.txt", b"a person's")

    run.discard()

    assert run.output() == {"notes.txt"}


def test_what_was_published_is_never_discarded(run: Run) -> None:
    run.publish()
    before = run.output()

    run.discard()

    assert run.output() == before


def test_a_workload_without_a_watermark_publishes_the_same_inputs_again(cloud: Cloud) -> None:
    shared = workload(input={"watermark": "none"})
    for _ in range(2):
        run = Run(shared)
        run.score()
        assert run.publish().scored == len(INPUTS)
