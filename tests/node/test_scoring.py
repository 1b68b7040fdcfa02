"""A job on a machine, whole: agent, storage and identity are real; the month is small."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.node.jobs import Bench, as_parquet, some_rows


def test_the_parts_hold_what_the_model_says_of_the_same_rows(bench: Bench, model: Any) -> None:
    bench.sklearn(model)
    days = {f"flights/2013-01-{day:02d}.parquet": some_rows(day) for day in range(1, 7)}
    items = [bench.item(name, as_parquet(frame)) for name, frame in days.items()]
    shards = [bench.shard(*items[:2]), bench.shard(*items[2:])]

    code, log = bench.score()

    assert code == 0, log
    for shard, blobs in zip(shards, (list(days)[:2], list(days)[2:]), strict=True):
        rows = bench.rows(shard)
        assert list(rows.columns) == ["flight", "tailnum", "_source", "late_probability"]
        assert rows["_source"].tolist() == [blob for blob in blobs for _ in range(40)]
        for blob in blobs:
            mine = rows[rows["_source"] == blob]
            expected = model.predict_proba(days[blob][["distance", "hour"]])[:, 1]
            assert mine["late_probability"].tolist() == expected.tolist()
            assert mine["tailnum"].tolist() == days[blob]["tailnum"].tolist()
        record = bench.record(shard)
        assert (
            hashlib.sha256(bench.read(bench.scores, record["output"]["blob"])).hexdigest()
            == record["output"]["sha256"]
        )
        assert bench.outcomes(shard) == [(blob, "scored", 40, 1) for blob in blobs]
    progress = bench.progress()
    assert (progress["state"], progress["exit_code"], progress["error"]) == ("succeeded", 0, None)
    assert (progress["shards_done"], progress["items_done"], progress["rows"]) == (2, 6, 240)
