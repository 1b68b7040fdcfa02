"""`python -m localdev.azuresim [options] [-- COMMAND ...]`: run COMMAND in a simulated Azure, or serve until stopped."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

from localdev.azuresim.azurite import AzuriteFailed
from localdev.azuresim.faults import FaultError
from localdev.azuresim.simulator import DEFAULT_SPEED, Simulator
from localdev.clock import Clock

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str]) -> int:
    options, command = _parse(arguments)
    clock = _clock(options)
    try:
        simulator = Simulator(clock=clock, faults=options.fault, specs=options.specs, state=options.state)
        with simulator:
            return _run(command, simulator.env) if command else _serve(simulator.env)
    except (AzuriteFailed, FaultError, OSError) as error:
        print(f"azuresim: {error}", file=sys.stderr)
        return 2


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    own, command = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        own, command = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(prog="python -m localdev.azuresim", description=__doc__)
    parser.add_argument(
        "--specs", type=_folder, help="Microsoft's specifications, to check against (AZURE_SPECS_DIR)"
    )
    parser.add_argument(
        "--fault", type=Path, help="YAML or JSON file of faults, see localdev/azuresim/faults.py"
    )
    parser.add_argument("--clock", type=Path, help="clock file to live by; made if it is not there")
    parser.add_argument(
        "--speed",
        type=float,
        help=f"virtual seconds a second, of a clock made here (default {DEFAULT_SPEED:g})",
    )
    parser.add_argument(
        "--state", type=Path, help="folder that makes the simulated world outlive this process"
    )
    return parser.parse_args(own), command


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


def _clock(options: argparse.Namespace) -> Clock | None:
    path = options.clock or (options.state / "clock.json" if options.state else None)
    if path is None and options.speed is None:
        return None
    path = path or Path(f"/tmp/azuresim-clock-{os.getpid()}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return Clock(path)
    return Clock.create(path, speed=DEFAULT_SPEED if options.speed is None else options.speed)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run COMMAND to its end. Signals go to it: it decides how to stop, and we follow."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **environment})
    except OSError as error:
        print(f"azuresim: {error}", file=sys.stderr)
        return 127
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    status = child.wait()
    return status if status >= 0 else 128 - status


def _serve(environment: dict[str, str]) -> int:
    stopped = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: stopped.set())
    for name, value in environment.items():
        print(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    while not stopped.wait(1.0):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
