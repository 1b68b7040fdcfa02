"""Processes die: by the input, by the plug, by a signal. No shard is lost, none is doubled, and the guilty are found."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.node.jobs import Bench, as_parquet, some_rows, until, zipped

SCORE = """
    import os, signal, time
    from pathlib import Path
    import pandas

    def init():
        assert os.path.isdir(os.environ["AZUREML_MODEL_DIR"])

    def run(mini_batch):
        frames = []
        for path in mini_batch:
            misbehave(path)
            frame = pandas.read_parquet(path)
            frames.append(frame[["flight"]].assign(score=frame["distance"] / 2))
        return pandas.concat(frames)
"""


def _code(bench: Bench, misbehave: str, mini_batch_size: int) -> None:
    text = textwrap.dedent(SCORE) + "\n" + textwrap.dedent(misbehave)
    bench.code(zipped([("score.py", text)]), mini_batch_size=mini_batch_size)


def _days(bench: Bench, count: int) -> list[dict[str, Any]]:
    return [bench.item(f"flights/{day}.parquet", as_parquet(some_rows(day))) for day in range(count)]


def test_an_input_that_kills_the_process_is_found_and_set_aside(bench: Bench) -> None:
    segfault = """
        def misbehave(path):
            if path.endswith("/3.parquet"):
                os.kill(os.getpid(), signal.SIGSEGV)
    """
    _code(bench, segfault, mini_batch_size=4)
    shard = bench.shard(*_days(bench, 6))

    code, log = bench.score()

    assert code == 0, log
    rows = bench.rows(shard)
    assert rows["flight"].tolist() == [n for _ in range(5) for n in range(1000, 1040)]
    outcomes = {blob: (status, attempts) for blob, status, _, attempts in bench.outcomes(shard)}
    assert outcomes.pop("flights/3.parquet") == ("quarantined", 3)
    assert {status for status, _ in outcomes.values()} == {"scored"}
    assert "SIGSEGV" in bench.reasons(shard)["flights/3.parquet"]


def test_an_input_that_takes_the_whole_agent_with_it_is_found_by_its_successors(bench: Bench) -> None:
    """Worker, fork server, agent: the code kills the agent itself, as an out-of-memory machine would."""
    patricide = """
        def misbehave(path):
            if path.endswith("/1.parquet"):
                fork_server = os.getppid()
                agent = int(Path(f"/proc/{fork_server}/stat").read_text().rpartition(")")[2].split()[1])
                os.kill(agent, signal.SIGKILL)
                time.sleep(60)
    """
    _code(bench, patricide, mini_batch_size=1)
    bench.job["attempts"] = 1
    shard = bench.shard(*_days(bench, 3))

    codes = [bench.score()[0] for _ in range(3)]

    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert [(blob, status) for blob, status, _, _ in bench.outcomes(shard)] == [
        ("flights/0.parquet", "scored"),
        ("flights/1.parquet", "quarantined"),
        ("flights/2.parquet", "scored"),
    ]
    assert "died while it was scored" in bench.reasons(shard)["flights/1.parquet"]


def _gated(bench: Bench, tmp_path: Path) -> Path:
    """Code that scores the first shard at once, and in the second waits for a file to appear."""
    gate = f"""
        def misbehave(path):
            folder = Path({str(tmp_path)!r})
            if path.endswith("/2.parquet"):
                (folder / "waiting").write_text(str(os.getpid()))
                while not (folder / "gate").exists():
                    time.sleep(0.01)
    """
    _code(bench, gate, mini_batch_size=1)
    bench.job["workers"] = 1
    days = _days(bench, 6)
    bench.shard(*days[:2])
    bench.shard(*days[2:4])
    bench.shard(*days[4:])
    return tmp_path / "gate"


def test_a_pulled_plug_loses_no_shard_and_doubles_none(
    bench: Bench, new_bench: Callable[[], Bench], tmp_path: Path
) -> None:
    gate, waiting = _gated(bench, tmp_path), tmp_path / "waiting"
    agent = bench.start()
    worker = until(
        lambda: int(waiting.read_text()) if waiting.exists() and waiting.read_text() else None, "shard 1"
    )
    seen = bench.progress()
    until(
        lambda: bench.progress()["updated"] > seen["updated"] or None,
        "progress moves while a shard takes its time",
    )
    agent.kill()
    until(lambda: None if Path(f"/proc/{worker}").exists() else True, "the worker dies with its agent")
    first = bench.record("00000")
    assert bench.records() == [f"runs/{bench.run}/shards/00000.json"]

    gate.touch()
    code, log = bench.score()

    assert code == 0, log
    assert bench.record("00000") == first
    undisturbed = new_bench()
    _gated(undisturbed, tmp_path)
    assert undisturbed.score()[0] == 0
    assert list(bench.parts().values()) == list(undisturbed.parts().values())
    assert bench.progress()["items_done"] == 6


def test_sigterm_lets_the_shard_in_work_finish_and_says_what_is_left(bench: Bench, tmp_path: Path) -> None:
    gate, waiting = _gated(bench, tmp_path), tmp_path / "waiting"
    agent = bench.start()
    until(lambda: waiting.exists() or None, "shard 1")

    agent.send_signal(signal.SIGTERM)
    gate.touch()
    output, _ = agent.communicate(timeout=60)

    assert agent.returncode == 1, output.decode()
    progress = bench.progress()
    assert (progress["state"], progress["error"]["type"]) == ("failed", "Stopped")
    assert "with 1 shards not scored" in progress["error"]["message"]
    assert bench.records() == [f"runs/{bench.run}/shards/0000{n}.json" for n in range(2)]
    assert bench.score()[0] == 0
    assert bench.progress()["items_quarantined"] == 0


def test_a_shard_that_does_not_finish_after_sigterm_is_ended_and_nobody_is_blamed(
    bench: Bench, tmp_path: Path
) -> None:
    gate, waiting = _gated(bench, tmp_path), tmp_path / "waiting"
    bench.job["attempts"] = 1
    agent = bench.start()
    until(lambda: waiting.exists() or None, "shard 1")

    agent.send_signal(signal.SIGTERM)
    output, _ = agent.communicate(timeout=60)

    assert agent.returncode == 1, output.decode()
    assert "with 2 shards not scored" in bench.progress()["error"]["message"]
    gate.touch()
    assert bench.score()[0] == 0
    assert (bench.progress()["items_done"], bench.progress()["items_quarantined"]) == (6, 0)
