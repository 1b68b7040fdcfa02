"""One committed output per shard, whoever was there before and whatever changed meanwhile."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.node.jobs import Bench, as_parquet, some_rows


def _two_shards(bench: Bench) -> tuple[str, str]:
    items = [bench.item(f"flights/{day}.parquet", as_parquet(some_rows(day))) for day in range(4)]
    return bench.shard(*items[:2]), bench.shard(*items[2:])


def test_what_has_a_record_is_not_scored_again(bench: Bench, model: Any) -> None:
    bench.sklearn(model)
    first, second = _two_shards(bench)
    assert bench.score()[0] == 0
    records, parts = [bench.record(first), bench.record(second)], bench.parts()
    for name in bench.names(bench.landing):  # it could not be scored again
        bench.estate.blobs.get_blob_client(bench.landing, name).delete_blob()

    assert bench.score()[0] == 0

    assert [bench.record(first), bench.record(second)] == records
    assert bench.parts() == parts
    assert bench.progress()["rows"] == 160


def test_a_part_without_its_record_is_found_and_not_doubled(bench: Bench, model: Any) -> None:
    bench.sklearn(model)
    first, _ = _two_shards(bench)
    assert bench.score()[0] == 0
    record, parts = bench.record(first), bench.parts()
    bench.estate.blobs.get_blob_client(bench.state, f"runs/{bench.run}/shards/{first}.json").delete_blob()

    bench.job["workers"] = 1
    assert bench.score()[0] == 0

    assert bench.record(first) == record
    assert bench.parts() == parts


def test_a_changed_or_vanished_input_fails_its_shard_alone(bench: Bench, model: Any) -> None:
    bench.sklearn(model)
    changed, vanished = _two_shards(bench)
    whole = bench.shard(bench.item("flights/kept.parquet", as_parquet(some_rows(9))))
    bench.item("flights/1.parquet", as_parquet(some_rows(77)))
    bench.estate.blobs.get_blob_client(bench.landing, "flights/2.parquet").delete_blob()

    code, log = bench.score()

    assert code == 1, log
    progress = bench.progress()
    assert (progress["state"], progress["exit_code"]) == ("failed", 1)
    assert progress["error"]["type"] == "InputChanged"
    assert "flights/1.parquet is not what was frozen" in progress["shards_failed"][changed]
    assert "flights/2.parquet is not what was frozen" in progress["shards_failed"][vanished]
    assert bench.records() == [f"runs/{bench.run}/shards/{whole}.json"]
    assert len(bench.parts()) == 1


def test_the_first_writers_part_stays_and_the_record_describes_it(bench: Bench, model: Any) -> None:
    """A twin had quarantined the second input before it died; ours can score both, but its part is the output."""
    bench.sklearn(model)
    shard = bench.shard(
        *[bench.item(f"flights/{day}.parquet", as_parquet(some_rows(day))) for day in range(2)]
    )
    assert bench.score()[0] == 0
    ours = bench.record(shard)["output"]
    twin = pyarrow.parquet.read_table(io.BytesIO(bench.read(bench.scores, ours["blob"]))).slice(0, 40)
    pyarrow.parquet.write_table(twin, buffer := io.BytesIO())
    bench.put(bench.scores, ours["blob"], buffer.getvalue())
    bench.estate.blobs.get_blob_client(bench.state, f"runs/{bench.run}/shards/{shard}.json").delete_blob()
    theirs = bench.parts()

    code, log = bench.score()

    assert code == 0, log
    assert bench.parts() == theirs
    output = bench.record(shard)["output"]
    assert (output["rows"], output["first_writer"]) == (40, {"ours_sha256": ours["sha256"]})
    assert output["sha256"] != ours["sha256"]
    assert bench.outcomes(shard) == [
        ("flights/0.parquet", "scored", 40, 1),
        ("flights/1.parquet", "quarantined", 0, 1),
    ]
    assert "another writer" in bench.reasons(shard)["flights/1.parquet"]


def test_a_twins_part_is_found_even_when_nothing_could_be_scored_this_time(bench: Bench, model: Any) -> None:
    bench.sklearn(model)
    shard = bench.shard(bench.item("flights/0.parquet", b"no longer readable by this agent"))
    part = f"flights/20130201T020000Z/part-{shard}-{bench.job['shards'][0]['key']}.parquet"
    bench.put(
        bench.scores,
        part,
        _as_our_part(some_rows(0)[["flight", "tailnum"]].assign(_source="flights/0.parquet")),
    )

    code, log = bench.score()

    assert code == 0, log
    assert bench.outcomes(shard) == [("flights/0.parquet", "scored", 40, 3)]
    assert bench.record(shard)["output"]["rows"] == 40


def test_what_is_no_part_of_the_shard_is_neither_overwritten_nor_published(bench: Bench, model: Any) -> None:
    bench.sklearn(model)
    shards = [*_two_shards(bench), bench.shard(bench.item("flights/9.parquet", as_parquet(some_rows(9))))]
    rows = some_rows(5).drop(columns=["distance", "hour"])
    other_columns = rows.assign(_source="flights/2.parquet")
    other_inputs = rows.assign(_source="flights/elsewhere.parquet", late_probability=0.5)
    taken = [b"not a part", as_parquet(other_columns), _as_our_part(other_inputs)]
    paths = [f"flights/20130201T020000Z/part-{s['id']}-{s['key']}.parquet" for s in bench.job["shards"]]
    for path, data in zip(paths, taken, strict=True):
        bench.put(bench.scores, path, data)

    code, log = bench.score()

    assert code == 1, log
    progress = bench.progress()
    assert progress["error"]["type"] == "ForeignOutput"
    said = [progress["shards_failed"][shard] for shard in shards]
    assert "is no Parquet file" in said[0]
    assert "with other columns" in said[1]
    assert "with rows of flights/elsewhere.parquet, not of this shard" in said[2]
    assert bench.parts() == dict(zip(paths, taken, strict=True))
    assert bench.records() == []


def _as_our_part(frame: pandas.DataFrame) -> bytes:
    """As parts are: plain strings, no pandas metadata."""
    types = {"flight": pyarrow.int64(), "late_probability": pyarrow.float64()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in frame.columns])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pandas(frame, schema=schema).replace_schema_metadata(None), buffer
    )
    return buffer.getvalue()


def test_the_bytes_do_not_depend_on_the_number_of_workers(bench: Bench, new_bench: Any, model: Any) -> None:
    other = new_bench()
    for place, workers in ((bench, 1), (other, 3)):
        place.sklearn(model)
        place.job["workers"] = workers
        for shard in range(3):
            place.shard(
                *[
                    place.item(f"flights/{shard}-{n}.parquet", as_parquet(some_rows(shard * 10 + n)))
                    for n in range(2)
                ]
            )
        assert place.score()[0] == 0

    assert list(bench.parts().values()) == list(other.parts().values())
    assert len({json.dumps(bench.record(f"0000{n}")["output"]["sha256"]) for n in range(3)}) == 3


@pytest.mark.parametrize("estimator", [LogisticRegression(), GaussianNB()], ids=lambda e: type(e).__name__)
def test_the_bytes_are_those_of_any_other_processor(bench: Bench, estimator: Any) -> None:
    """BLAS and numpy would use other kernels there, whose last bits differ."""
    frame = pandas.concat([some_rows(seed) for seed in range(5)])
    late = ((frame["distance"] + frame["hour"] * 90) % 700 > 350).astype(int)
    bench.sklearn(make_pipeline(StandardScaler(), estimator).fit(frame[["distance", "hour"]], late))
    shard = bench.shard(
        *(bench.item(f"flights/{day}.parquet", as_parquet(some_rows(day, 2000))) for day in range(4))
    )
    assert bench.score(env={"OPENBLAS_CORETYPE": "SkylakeX", "NPY_DISABLE_CPU_FEATURES": ""})[0] == 0
    parts = bench.parts()
    for name in (*bench.names(bench.scores), f"runs/{bench.run}/shards/{shard}.json"):
        container = bench.scores if name.endswith(".parquet") else bench.state
        bench.estate.blobs.get_blob_client(container, name).delete_blob()
    assert (
        bench.score(env={"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"})[0]
        == 0
    )
    assert bench.parts() == parts != {}
