"""Bad inputs: each is tried as often as the job says, then set aside with a reason, and never takes others with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas
import pytest

from tests.node.jobs import Bench, as_parquet, some_rows

GOOD = "flights/good.parquet"
GOOD_CSV = "flights/good.csv"
FAULTS = {
    "flights/no-parquet.parquet": "cannot be read: ",
    "flights/cut.parquet": "cannot be read: ",
    "flights/missing.csv": "missing column: distance",
    "flights/missing.parquet": "missing columns: tailnum, hour",
    "flights/types.csv": "In CSV column distance: ",
    "flights/types.parquet": "column distance: string found, double expected",
    "flights/lossy.parquet": "column hour: double does not fit long: ",
    "flights/empty.parquet": "no rows",
    "flights/empty.csv": "no rows",
    "flights/void.csv": "cannot be read: ",
    "flights/page.html": "neither .parquet nor .csv",
}


@pytest.fixture(scope="module")
def scored(new_bench: Callable[[], Bench], model: Any) -> Bench:
    """One shard with every fault between two good files, and one shard with nothing good in it."""
    bench = new_bench()
    bench.sklearn(model)
    rows = some_rows(1)
    bad = {
        "flights/no-parquet.parquet": b"PAR1 and then nothing of the kind",
        "flights/cut.parquet": as_parquet(rows)[:-200],
        "flights/missing.csv": rows.drop(columns="distance").to_csv(index=False).encode(),
        "flights/missing.parquet": as_parquet(rows.drop(columns=["tailnum", "hour"])),
        "flights/types.csv": rows.assign(distance="far").to_csv(index=False).encode(),
        "flights/types.parquet": as_parquet(rows.assign(distance=rows["distance"].astype(str))),
        "flights/lossy.parquet": as_parquet(rows.assign(hour=rows["hour"] + 0.5)),
        "flights/empty.parquet": as_parquet(rows.head(0)),
        "flights/empty.csv": rows.head(0).to_csv(index=False).encode(),
        "flights/void.csv": b"",
        "flights/page.html": b"<html></html>",
    }
    assert set(bad) == set(FAULTS)
    faulty = [bench.item(name, data) for name, data in bad.items()]
    good = bench.item(GOOD, as_parquet(rows))
    csv = bench.item(GOOD_CSV, some_rows(2).to_csv(index=False).encode())
    stranger = {**good, "blob": "flights/../flights/good.parquet"}
    bench.shard(good, *faulty, stranger, csv)
    bench.shard(*faulty[:2])
    code, log = bench.score()
    assert code == 0, log
    return bench


@pytest.mark.parametrize("blob", FAULTS)
def test_a_bad_input_is_quarantined_after_all_attempts_and_says_why(scored: Bench, blob: str) -> None:
    assert (blob, "quarantined", 0, 3) in scored.outcomes("00000")
    assert scored.reasons("00000")[blob].startswith(FAULTS[blob])


def test_a_name_that_leaves_its_place_is_never_asked_for(scored: Bench) -> None:
    assert ("flights/../flights/good.parquet", "quarantined", 0, 0) in scored.outcomes("00000")


def test_good_inputs_among_bad_ones_are_scored_whole(scored: Bench, model: Any) -> None:
    rows = scored.rows("00000")

    assert rows["_source"].tolist() == [GOOD] * 40 + [GOOD_CSV] * 40
    frame = pandas.concat([some_rows(1), some_rows(2)])[["distance", "hour"]]
    assert rows["late_probability"].tolist() == model.predict_proba(frame)[:, 1].tolist()


def test_a_shard_with_nothing_to_score_has_a_record_and_no_part(scored: Bench) -> None:
    assert scored.record("00001")["output"] is None
    assert [status for _, status, _, _ in scored.outcomes("00001")] == ["quarantined", "quarantined"]
    assert len(scored.parts()) == 1


def test_progress_counts_what_the_records_say(scored: Bench) -> None:
    progress = scored.progress()

    assert (progress["items_total"], progress["items_done"]) == (16, 16)
    assert (progress["items_quarantined"], progress["rows"]) == (14, 80)
    assert (progress["shards_done"], progress["shards_total"]) == (2, 2)
