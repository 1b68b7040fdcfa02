"""The demonstration's training code: resumable, and good enough in summer to beat a champion that knows winter alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import joblib
import pandas
import pyarrow.compute as pc
import pytest

from localdev.demo import flights
from tests.node.estate import ROOT, Estate, die_with_parent
from tests.node.evaluate_jobs import EvaluateBench
from tests.node.jobs import Bench, until, zipped
from tests.node.train_jobs import TrainBench

CODE = ROOT / "workloads" / "flights_training"


def _days(months: Iterable[int]) -> list[tuple[str, bytes]]:
    """A Parquet file for each day, by name in the order of the calendar."""
    table = flights.flown(tuple(months))
    found = []
    for month in months:
        rows = table.filter(pc.equal(table["month"], month))
        for day in range(1, pc.max(rows["day"]).as_py() + 1):
            data = flights.as_parquet(rows.filter(pc.equal(rows["day"], day)))
            found.append((f"flights/2013-{month:02d}-{day:02d}.parquet", data))
    return found


def _command(folder: Path, name: str, trees: int) -> list[str]:
    places = {
        "data": folder / "data",
        "out": folder / name / "out",
        "checkpoint": folder / name / "checkpoint",
    }
    words = [word for option, path in places.items() for word in (f"--{option}", str(path))]
    return [sys.executable, str(CODE / "train.py"), *words, "--label", "late", "--trees", str(trees)]


def test_a_trial_that_was_cut_off_goes_on_to_the_same_model(tmp_path: Path) -> None:
    for name, data in _days([5])[:4]:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    subprocess.run(_command(tmp_path, "whole", 100), check=True, stdout=subprocess.DEVNULL)
    kept = tmp_path / "cut" / "checkpoint" / "pipeline.joblib"

    cut = subprocess.Popen(
        _command(tmp_path, "cut", 100), stdout=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    until(lambda: kept.exists() or None, "the first checkpoint")
    cut.kill()
    cut.wait()
    resumed = subprocess.run(
        _command(tmp_path, "cut", 100), check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()

    assert resumed[0] != "20 of 100 trees"
    rows = pandas.concat([pandas.read_parquet(path) for path in (tmp_path / "data").rglob("*.parquet")])
    first, second = (
        joblib.load(tmp_path / name / "out" / "model.joblib").predict_proba(rows)[:, 1]
        for name in ("whole", "cut")
    )
    assert first.tolist() == second.tolist()


def _trained(bench: TrainBench, days: list[tuple[str, bytes]]) -> dict[str, Any]:
    """The record of a trial on these days, in the agent's own hands."""
    bench.manifest["train"] = []
    for name, data in days:
        bench.add("train", name, data)
    bench.training_code(zipped([("train.py", (CODE / "train.py").read_text())]))
    bench.job["timeout_s"] = 300
    code, log = bench.train()
    assert code == 0, log
    record = bench.trial()
    assert record["status"] == "valid", record["reason"] + bench.log()
    return record


@pytest.fixture
def new_run(machine: Estate, new_bench: Callable[[], Bench]) -> Callable[[], EvaluateBench]:
    return lambda: EvaluateBench(machine, new_bench().name)


def test_a_challenger_of_the_summer_beats_the_winter_s_champion_on_the_last_of_august(
    new_run: Callable[[], EvaluateBench],
) -> None:
    """Trained on the 120 days before: the test set is the last 30 days of August."""
    winter, summer, judged = new_run(), new_run(), new_run()
    days = _days(range(3, 9))
    records = {"champion": _trained(winter, _days([1, 2])), "challenger": _trained(summer, days[-150:-30])}
    for name, data in days[-30:]:
        judged.add("test", name, data)
    for (role, record), bench in zip(records.items(), (winter, summer), strict=True):
        stored = record["model"]
        data, card = (
            bench.read(stored["container"], stored["prefix"] + f) for f in (stored["file"], "MODEL.json")
        )
        judged.judge(role, data, **json.loads(card))
    judged.job["slices"] = ["origin"]

    code, log = judged.evaluate()

    assert code == 0, log
    said = judged.evaluation()
    assert said["rows"] == 27_825
    assert said["difference"]["auc"]["low"] > 0.03, said["models"]
    assert all(one["difference"]["low"] > 0 for one in said["slices"]), said["slices"]
