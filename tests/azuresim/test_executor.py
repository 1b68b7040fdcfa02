"""A simulated machine runs scripts as Azure's agent does, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localdev.azuresim.executor import Execution, Machine, MachineGone

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "vm1", {"MACHINE": "vm1"})
    yield machine
    machine.destroy()


def ended(execution: Execution) -> Execution:
    assert execution.wait(PATIENCE_S)
    return execution


def eventually(condition: Callable[[], bool]) -> None:
    """Poll, bounded: for what another process does in its own time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def pid_in(file: Path) -> int:
    eventually(lambda: file.exists() and file.read_text().strip().isdigit())
    return int(file.read_text())


def test_a_script_succeeds_or_fails_with_its_exit_code(machine: Machine) -> None:
    good = ended(machine.run("echo out; echo err >&2", [], [], None))
    assert (good.state, good.exit_code, good.stdout, good.stderr) == ("Succeeded", 0, "out\n", "err\n")
    assert good.message == "Execution completed"
    bad = ended(machine.run("exit 12", [], [], None))
    assert (bad.state, bad.exit_code) == ("Failed", 12)
    assert bad.message.endswith("command terminated with exit status=12")


def test_named_parameters_are_environment_and_unnamed_ones_are_arguments(machine: Machine) -> None:
    """Azure/run-command-handler-linux, exec_test.go: TestExec_SetEnvironmentVariables."""
    execution = ended(
        machine.run(
            'echo "$Variable1 $Variable2 $MACHINE"; echo "$# $1 $2"',
            [("Variable1", "value1"), ("", "arg1")],
            [("Variable2", "value2"), ("", "arg2")],
            None,
        )
    )
    assert execution.stdout == "value1 value2 vm1\n2 arg1 arg2\n"


def test_the_shell_splits_an_argument_but_not_a_variable(machine: Machine) -> None:
    script = 'echo "$#:$NAMED"'
    assert ended(machine.run(script, [("NAMED", "a b"), ("", "a b $((1+1))")], [], None)).stdout == "3:a b\n"
    assert ended(machine.run(script, [("", "'a b'")], [], None)).stdout == "1:\n"


def test_an_empty_parameter_is_dropped_and_a_protected_one_wins(machine: Machine) -> None:
    execution = ended(
        machine.run('echo "${EMPTY-unset} $TWICE"', [("EMPTY", ""), ("TWICE", "1")], [("TWICE", "2")], None)
    )
    assert execution.stdout == "unset 2\n"


def test_the_first_line_chooses_the_interpreter(machine: Machine) -> None:
    execution = ended(
        machine.run(f"#!{sys.executable}\nimport sys; print(sys.argv[1])", [("", "x")], [], None)
    )
    assert execution.stdout == "x\n"


def test_a_script_has_a_directory_of_its_own_and_nothing_of_ours(machine: Machine) -> None:
    execution = ended(machine.run("pwd; ls; env", [], [], None))
    lines = execution.stdout.splitlines()
    assert lines[0].startswith(str(machine.root))
    assert set(lines[1:4]) == {"script.sh", "stderr", "stdout"}
    names = {line.partition("=")[0] for line in lines[4:]}
    assert names <= {"PATH", "HOME", "LANG", "MACHINE", "PWD", "SHLVL", "_", "OLDPWD", "AZURESIM_EXECUTION"}
    other = ended(machine.run("pwd", [], [], None))
    assert other.stdout.strip() != lines[0]


def test_only_the_last_4096_bytes_of_the_output_are_shown(machine: Machine) -> None:
    execution = ended(machine.run("head -c 5000 /dev/zero | tr '\\0' a; echo end", [], [], None))
    assert len(execution.stdout) == 4096
    assert execution.stdout.endswith("aend\n")


def test_output_is_visible_while_the_script_runs(machine: Machine) -> None:
    execution = machine.run("echo begun; sleep 600", [], [], None)
    eventually(lambda: execution.stdout == "begun\n")
    assert (execution.state, execution.exit_code, execution.ended) == ("Running", None, None)
    assert execution.message == "Execution in progress"


def test_times_are_those_of_the_machine_s_clock(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "vm1", {}, clock=iter([100.0, 160.0]).__next__)
    execution = ended(machine.run("true", [], [], None))
    machine.destroy()
    assert (execution.started, execution.ended) == (100.0, 160.0)


def test_a_script_that_takes_too_long_is_ended(machine: Machine) -> None:
    execution = ended(machine.run("sleep 600", [], [], 0.2))
    assert (execution.state, execution.exit_code) == ("TimedOut", -1)


def test_a_script_that_ends_in_time_is_not_timed_out_later(machine: Machine) -> None:
    execution = ended(machine.run("setsid sleep 600 & exit 3", [], [], 0.2))
    ended(machine.run("sleep 0.3", [], [], None))
    assert (execution.state, execution.exit_code) == ("Failed", 3)


def test_a_killed_script_is_canceled_with_its_whole_group(machine: Machine) -> None:
    execution = machine.run("sleep 600 & echo $! > child; wait", [], [], None)
    child = pid_in(next(machine.root.glob("**/download/0")) / "child")
    execution.kill()
    assert (ended(execution).state, execution.exit_code) == ("Canceled", -1)
    eventually(lambda: not alive(child))
    execution.kill()
    assert execution.state == "Canceled"


def test_killing_what_has_ended_changes_nothing(machine: Machine) -> None:
    execution = ended(machine.run("exit 4", [], [], None))
    execution.kill()
    assert (execution.state, execution.exit_code) == ("Failed", 4)


def test_what_a_script_leaves_running_stays_until_the_machine_goes(machine: Machine) -> None:
    """A bootstrap starts the agent in the background and ends; the agent must live on."""
    execution = ended(machine.run("setsid sleep 600 & echo $! > child", [], [], None))
    child = pid_in(machine.root / "run-command/download/0/child")
    assert execution.state == "Succeeded"
    ended(machine.run("true", [], [], None))
    assert alive(child)
    machine.destroy()
    assert not alive(child)


# Each tries to get away: another session, another group, twice forked, without its environment, ignoring signals.
ESCAPES = {
    "session": "setsid sleep 600 & echo $! > child",
    "orphan": "(setsid bash -c 'echo $$ > child; exec sleep 600' &)",
    "twice": "(setsid bash -c 'setsid bash -c \"echo \\$\\$ > child; exec sleep 600\" &' &)",
    "no-environment": "(env -i setsid /bin/bash -c 'echo $$ > child; exec sleep 600' &)",
    "deaf": "(setsid bash -c 'trap \"\" TERM HUP INT; echo $$ > child; while :; do sleep 600; done' &)",
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_outlives_the_machine(machine: Machine, escape: str) -> None:
    machine.run(ESCAPES[escape], [], [], None)
    child = pid_in(machine.root / "run-command/download/0/child")
    assert alive(child)
    machine.destroy()
    assert not alive(child)
    assert not machine.root.exists()


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_outlives_a_simulator_that_is_killed(tmp_path: Path, escape: str) -> None:
    simulator = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, threading; from pathlib import Path; from localdev.azuresim.executor import Machine\n"
            "machine = Machine(Path(sys.argv[1]), {})\n"
            "threading.Thread(target=machine.run, args=(sys.argv[2], [], [], None)).start()\n"
            "threading.Event().wait()",
            *(str(tmp_path / "vm1"), f"{ESCAPES[escape]}; sleep 600"),
        ],
        cwd=REPOSITORY,
    )
    child = pid_in(tmp_path / "vm1/run-command/download/0/child")
    assert alive(child)
    simulator.send_signal(signal.SIGKILL)
    simulator.wait()
    eventually(lambda: not alive(child))


def test_a_script_that_kills_its_parent_is_still_accounted_for(machine: Machine) -> None:
    script = "setsid sleep 600 & echo $! > child; kill -9 $PPID; sleep 600"
    execution = ended(machine.run(script, [], [], None))
    assert (execution.state, execution.exit_code) == ("Canceled", -1)
    assert not alive(pid_in(machine.root / "run-command/download/0/child"))


def test_a_machine_that_is_gone_runs_nothing(machine: Machine) -> None:
    running = machine.run("sleep 600", [], [], None)
    machine.destroy()
    machine.destroy()
    assert running.state == "Canceled"
    assert (running.stdout, running.stderr) == ("", "")
    with pytest.raises(MachineGone, match="vm1"):
        machine.run("true", [], [], None)


def test_scripts_run_side_by_side(machine: Machine) -> None:
    """Unlike the action `runCommand`, managed run commands of one machine may run at the same time."""
    first = machine.run("until [ -e ../1/go ]; do sleep 0.01; done", [], [], None)
    second = machine.run("touch go", [], [], None)
    assert (ended(first).state, ended(second).state) == ("Succeeded", "Succeeded")


def test_no_file_of_the_simulator_is_open_in_a_script(machine: Machine) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        execution = ended(machine.run("ls /proc/self/fd | wc -l", [], [], None))
    finally:
        os.close(reader)
        os.close(writer)
    assert int(execution.stdout) <= 5  # 0, 1, 2, the pipe of `ls`, and the directory it reads
