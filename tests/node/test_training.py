"""Trials on a machine: somebody else's program, which may do anything, and one honest record of what came of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from tests.node.estate import Estate
from tests.node.jobs import Bench, until, zipped
from tests.node.train_jobs import TrainBench

GOOD = "leave({'auc': 0.75})"


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
    card = json.loads(bench.read(bench.state, record["model"]["prefix"] + "MODEL.json"))
    assert (card["sha256"], card["size"]) == (record["model"]["sha256"], record["model"]["size"])
    assert "half way" in bench.log()
    progress = bench.progress()
    assert (progress["state"], progress["shards_done"], progress["items_done"]) == ("succeeded", 1, 1)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise ValueError('no such column')", "exit code 1: ValueError: no such column"),
        ("os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
        ("pass", "metrics.json is missing"),
        ("leave({'auc': float('nan')})", "metrics.json: auc is nan, a finite number"),
    ],
    ids=["crash", "killed", "nothing left", "NaN"],
)
def test_a_program_that_does_not_keep_the_contract_is_a_failed_trial_and_a_job_well_done(
    bench: TrainBench, program: str, said: str
) -> None:
    bench.program(program)

    code, log = bench.train()

    assert code == 0, log
    record = bench.trial()
    assert (record["status"], record["metrics"], record["model"]) == ("failed", {}, None)
    assert said in record["reason"]
    assert bench.progress()["items_quarantined"] == 1


def test_code_without_its_entry_fails_the_trial_with_the_reason(bench: TrainBench) -> None:
    bench.training_code(zipped([("other.py", "")]))

    code, log = bench.train()

    assert code == 0, log
    assert (bench.trial()["status"], bench.trial()["reason"]) == ("failed", "the code has no file train.py")


def test_a_hang_is_cut_off_with_everything_that_it_started(bench: TrainBench) -> None:
    """A grandchild in a session of its own, with closed output, is still found."""
    bench.program(
        """
        import subprocess
        (CHECKPOINT / "begun").write_text("x")
        print("sleeping")
        subprocess.Popen(["sleep", "4077"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3600)
        """
    )
    bench.job["timeout_s"] = 6

    code, log = bench.train()

    assert code == 0, log
    assert (bench.trial()["status"], bench.trial()["reason"]) == ("failed", "cut off after 6 s")
    assert "sleeping" in bench.log()
    assert _running("sleep\0004077") == []


def test_the_program_sees_neither_identity_nor_network_nor_other_processes_nor_other_files(
    bench: TrainBench, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    bench.program(
        f"""
        import socket
        found = {{"environment": sorted(os.environ), "uid_map": Path("/proc/self/uid_map").read_text().split()}}
        found["processes"] = [name for name in os.listdir("/proc") if name.isdigit()]
        def tried(what, act):
            try:
                found[what] = repr(act())
            except OSError as error:
                found[what] = type(error).__name__ + " " + str(error.errno)
        tried("metadata", lambda: socket.create_connection(("169.254.169.254", 80), 5))
        tried("proxy", lambda: socket.create_connection(("127.0.0.1", {_port(bench.estate)}), 5))
        tried("outside", lambda: Path({str(outside)!r}, "x").write_text("x"))
        tried("data", lambda: next(Path(options.data).rglob("*.parquet")).write_bytes(b""))
        tried("code", lambda: Path(__file__).write_text(""))
        tried("kernel", lambda: Path("/proc/sys/kernel/core_pattern").write_text("core"))
        tried("disks", lambda: [name for name in os.listdir("/dev") if name.startswith(("sd", "vd", "nvme"))])
        print("FOUND", json.dumps(found))
        {GOOD}
        """
    )

    code, log = bench.train()

    assert code == 0, log
    assert bench.trial()["status"] == "valid", bench.log()
    (line,) = [line for line in bench.log().splitlines() if line.startswith("FOUND ")]
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    words = ("PROXY", "IDENTITY", "MSI", "AZURE", "SECRET", "TOKEN", "SSL", "ACCOUNT")
    assert not [name for name in found["environment"] if any(word in name.upper() for word in words)]
    assert len(found["processes"]) == 2  # the cell's own first process, and the program
    assert found["metadata"] == "OSError 101"
    assert found["proxy"] == "ConnectionRefusedError 111"
    assert {found[what] for what in ("outside", "data", "code", "kernel")} == {"OSError 30"}
    assert found["disks"] == "[]"
    assert list(outside.iterdir()) == []


RESUMES = """
    state = CHECKPOINT / "steps" / "state.json"
    done = json.loads(state.read_text())["done"] if state.exists() else 0
    print("begun at", done, flush=True)
    (CHECKPOINT / ".passing").write_text("half")
    while done < 4:
        if done == 2 and not (CHECKPOINT / "again").exists():
            (CHECKPOINT / "again").write_text("x")
            time.sleep(3600)
        done += 1
        state.parent.mkdir(exist_ok=True)
        state.with_suffix(".tmp").write_text(json.dumps({"done": done}))
        os.replace(state.with_suffix(".tmp"), state)
    leave({"auc": 0.75, "steps": done})
"""


def _mirrored(bench: TrainBench) -> list[str]:
    prefix = f"runs/{bench.run}/checkpoints/t000/"
    return [name.removeprefix(prefix) for name in bench.names(bench.state, prefix)]


def _steps_kept(bench: TrainBench) -> int:
    kept = "steps/state.json"
    if kept not in _mirrored(bench):
        return 0
    return int(json.loads(bench.read(bench.state, f"runs/{bench.run}/checkpoints/t000/{kept}"))["done"])


def test_a_preempted_trial_goes_on_from_its_checkpoint_on_another_machine(
    bench: TrainBench, tmp_path: Path
) -> None:
    bench.program(RESUMES)
    agent = bench.start(reference=bench.reference(), env={"TMPDIR": str(tmp_path)})
    until(
        lambda: (_steps_kept(bench) == 2 and "again" in _mirrored(bench)) or None,
        "the checkpoint is in storage",
    )

    os.killpg(agent.pid, signal.SIGKILL)
    agent.wait()

    until(lambda: None if _running(str(tmp_path)) else True, "the program goes with its agent")
    with pytest.raises(Exception, match="BlobNotFound"):
        bench.trial()
    code, log = bench.train()
    assert code == 0, log
    assert bench.trial()["metrics"]["steps"] == 4
    assert "begun at 2" in bench.log()
    assert sorted(_mirrored(bench)) == ["again", "steps/state.json"]


def test_sigterm_ends_the_program_keeps_its_checkpoint_and_leaves_no_record(
    bench: TrainBench, tmp_path: Path
) -> None:
    bench.program(RESUMES)
    agent = bench.start(reference=bench.reference(), env={"TMPDIR": str(tmp_path)})
    until(lambda: list(tmp_path.glob("*/trials/t000/checkpoint/again")) or None, "it waits")
    assert _running(str(tmp_path))

    agent.send_signal(signal.SIGTERM)
    output, _ = agent.communicate(timeout=60)

    assert agent.returncode == 1, output.decode()
    assert bench.progress()["error"]["type"] == "Stopped"
    assert _running(str(tmp_path)) == []
    assert "again" in _mirrored(bench)
    assert f"runs/{bench.run}/trials/t000.json" not in bench.names(bench.state)
    assert bench.train()[0] == 0
    assert "begun at 2" in bench.log()


def test_what_has_a_record_is_not_trained_again(bench: TrainBench) -> None:
    bench.program(GOOD)
    assert bench.train()[0] == 0
    first = bench.trial()
    bench.program("raise SystemExit('ran again')")

    code, log = bench.train()

    assert code == 0, log
    assert bench.trial() == first
    assert bench.progress()["shards_done"] == 1


def test_two_machines_with_the_same_trial_leave_one_record_whose_model_is_there(bench: TrainBench) -> None:
    bench.program("leave({'auc': float(os.getpid()), 'at': time.time()})")
    reference = bench.reference()

    agents = [bench.start(reference=reference) for _ in range(2)]
    codes = [agent.wait(120) for agent in agents]

    assert codes == [0, 0]
    record = bench.trial()
    metrics = json.loads(bench.read(bench.state, record["model"]["prefix"] + "metrics.json"))
    assert metrics == record["metrics"]
    bench.model_of(record)


def test_training_data_that_changed_since_they_were_frozen_train_nothing(bench: TrainBench) -> None:
    bench.program(GOOD)
    bench.put(bench.landing, "days/1.parquet", b"something else")

    code, log = bench.train()

    assert code == 1, log
    assert bench.progress()["error"]["type"] == "InputChanged"


def test_many_units_in_one_job_get_a_model_each_of_their_own_rows_alone(bench: TrainBench) -> None:
    del bench.job["trial"], bench.job["unit"]
    units = [
        {"id": "t00001", "value": "AA"},
        {"id": "t00002", "value": "UA"},
        {"id": "t00003", "value": "ZZ"},
    ]
    bench.job |= {"units": units, "unitColumn": "carrier", "workers": 2}
    bench.program(
        """
        assert set(rows()["carrier"]) == {os.environ["MUSTER_UNIT"]}
        leave({"auc": 0.75, "rows": len(rows())})
        """
    )

    code, log = bench.train()

    assert code == 0, log
    records = {unit["id"]: bench.trial(unit["id"]) for unit in units}
    assert [record["status"] for record in records.values()] == ["valid", "valid", "failed"]
    frames = pandas.concat([pandas.read_parquet(_bytes(bench, item)) for item in bench.manifest["train"]])
    for name, carrier in (("t00001", "AA"), ("t00002", "UA")):
        assert records[name]["metrics"]["rows"] == (frames["carrier"] == carrier).sum()
        assert records[name]["unit"] == {"column": "carrier", "value": carrier}
    assert records["t00003"]["reason"] == "no row with ZZ"
    assert (bench.progress()["shards_done"], bench.progress()["items_quarantined"]) == (3, 1)


def test_a_trial_of_one_unit_sees_its_rows_alone(bench: TrainBench) -> None:
    bench.job["unit"] = {"column": "carrier", "value": "B6"}
    bench.program("leave({'rows': len(rows()), 'units': rows()['carrier'].nunique()})")

    code, log = bench.train()

    assert code == 0, log
    assert bench.trial()["metrics"]["units"] == 1


def test_a_log_of_any_length_is_kept_to_its_end(bench: TrainBench) -> None:
    bench.program(f"print('x' * 3000000); print('the end'); {GOOD}")

    assert bench.train()[0] == 0

    assert len(bench.log()) == 64 * 1024
    assert bench.log().endswith("the end\n")


def _bytes(bench: TrainBench, item: dict[str, Any]) -> Any:
    import io

    return io.BytesIO(bench.read(item["container"], item["blob"]))


def _port(estate: Estate) -> int:
    return int(estate.env["HTTPS_PROXY"].rpartition(":")[2])


def _running(words: str) -> list[int]:
    """Processes of ours with these words in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if words in line:
            found.append(int(path.parent.name))
    return found
