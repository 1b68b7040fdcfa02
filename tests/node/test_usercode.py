"""The user's own scoring code, by Azure ML's convention."""

from __future__ import annotations

import textwrap

import pytest

from tests.node.jobs import Bench, as_parquet, some_rows, zipped


def _code(bench: Bench, text: str, mini_batch_size: int = 2, **files: str) -> None:
    bench.code(
        zipped([("score.py", textwrap.dedent(text)), *((f"{k}.py", v) for k, v in files.items())]),
        mini_batch_size=mini_batch_size,
    )


def _days(bench: Bench, count: int) -> str:
    return bench.shard(*[bench.item(f"flights/{d}.parquet", as_parquet(some_rows(d))) for d in range(count)])


def test_a_list_with_one_result_per_file_is_attributed_to_the_files(bench: Bench) -> None:
    text = """
        import os, pandas
        from helper import WEIGHT
        seen = []
        def init():
            seen.append(os.environ["AZUREML_MODEL_DIR"])
        def run(mini_batch):
            print("user output is allowed")
            return [len(pandas.read_parquet(path)) * WEIGHT * len(seen) for path in mini_batch]
    """
    _code(bench, text, helper="WEIGHT = 2")
    shard = _days(bench, 3)

    code, log = bench.score()

    assert code == 0, log
    rows = bench.rows(shard)
    assert rows["prediction"].tolist() == [80, 80, 80]
    assert rows["_source"].tolist() == [f"flights/{day}.parquet" for day in range(3)]
    assert bench.outcomes(shard) == [(f"flights/{day}.parquet", "scored", 1, 1) for day in range(3)]


def test_in_a_batch_with_one_bad_file_only_that_file_is_quarantined(bench: Bench) -> None:
    text = """
        import pandas
        def init(): pass
        def run(mini_batch):
            frame = pandas.concat([pandas.read_parquet(path) for path in mini_batch])
            if (frame["flight"] < 0).any():
                raise ValueError("a flight below zero")
            return frame[["flight"]]
    """
    _code(bench, text, mini_batch_size=4)
    bad = some_rows(2).assign(flight=-1)
    shard = bench.shard(
        bench.item("flights/0.parquet", as_parquet(some_rows(0))),
        bench.item("flights/1.parquet", as_parquet(bad)),
        bench.item("flights/2.parquet", as_parquet(some_rows(2))),
    )

    code, log = bench.score()

    assert code == 0, log
    assert bench.outcomes(shard) == [
        ("flights/0.parquet", "scored", 40, 1),
        ("flights/1.parquet", "quarantined", 0, 3),
        ("flights/2.parquet", "scored", 40, 1),
    ]
    assert bench.reasons(shard)["flights/1.parquet"] == "run() raised ValueError: a flight below zero"
    assert len(bench.rows(shard)) == 80


def test_code_with_many_rows_for_a_file_gets_one_at_a_time_so_that_all_are_attributed(bench: Bench) -> None:
    text = """
        import pandas
        def init(): pass
        def run(mini_batch):
            frames = [pandas.read_parquet(path) for path in mini_batch]
            return pandas.concat(frames)[["flight"]].assign(together=len(mini_batch))
    """
    _code(bench, text, mini_batch_size=3)
    shard = _days(bench, 5)

    code, log = bench.score()

    assert code == 0, log
    assert bench.outcomes(shard) == [(f"flights/{day}.parquet", "scored", 40, 1) for day in range(5)]
    rows = bench.rows(shard)
    assert rows["_source"].tolist() == [f"flights/{day}.parquet" for day in range(5) for _ in range(40)]
    assert set(rows["together"]) == {1}


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (zipped([("other.py", "")]), "the code has no file score.py"),
        (zipped([("score.py", "def init(): pass")]), "must define init() and run(mini_batch)"),
        (
            zipped([("score.py", "def init(): raise KeyError('weights')\ndef run(b): return b")]),
            "KeyError: 'weights'",
        ),
        (zipped([("score.py", "def init(:")]), "SyntaxError"),
        (zipped([("../../score.py", "")]), "would leave its folder"),
    ],
    ids=["no entry", "no run", "init raises", "syntax", "slip"],
)
def test_code_that_cannot_be_loaded_ends_the_job_with_3(bench: Bench, archive: bytes, said: str) -> None:
    bench.code(archive)
    _days(bench, 1)

    code, log = bench.score()

    assert code == 3, log
    assert bench.progress()["error"]["type"] == "CodeLoadError"
    assert said in bench.progress()["error"]["message"]
