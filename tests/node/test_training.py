"""Trials on a machine: somebody else's program, which may do anything, and one honest record of what came of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.node.estate import Estate
from tests.node.jobs import Bench
from tests.node.train_jobs import TrainBench


@pytest.fixture
def bench(machine: Estate, new_bench: Callable[[], Bench]) -> TrainBench:
    return TrainBench(machine, new_bench().name)


def test_a_trial_leaves_its_model_its_metrics_and_a_record(bench: TrainBench) -> None:
    bench.job["parameters"] = {"strength": 0.5}
    bench.program("print('half way'); leave({'auc': 0.75, 'rows': len(rows())})")

    code, log = bench.train()

    assert code == 0, log
    record = bench.trial()
    assert (record["status"], record["metrics"]) == ("valid", {"auc": 0.75, "rows": 400}), record
    assert record["parameters"] == {"strength": 0.5}
    assert bench.model_of(record).named_steps["logisticregression"].C == 0.5
    assert "half way" in bench.log()
    progress = bench.progress()
    assert (progress["state"], progress["shards_done"], progress["items_done"]) == ("succeeded", 1, 1)
