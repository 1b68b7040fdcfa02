"""`python -m localdev.azuresim [options] [-- COMMAND ...]`: run COMMAND in a simulated Azure, or serve until stopped."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from localdev.azuresim.azurite import AzuriteFailed, die_with_parent
from localdev.azuresim.faults import FaultError
from localdev.azuresim.simulator import DEFAULT_SPEED, Simulator
from localdev.clock import Clock

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return path


_OPTIONS: tuple[tuple[str, Callable[[str], object], object, str], ...] = (
    ("--specs", _folder, None, "Microsoft's specifications, to check against (default: AZURE_SPECS_DIR)"),
    ("--fault", Path, None, "YAML or JSON file of faults, see localdev/azuresim/faults.py"),
    ("--clock", Path, None, "clock file to live by; made if it is not there"),
    (
        "--speed",
        float,
        DEFAULT_SPEED,
        "virtual seconds a second, of a clock made here (default: %(default)s)",
    ),
    ("--state", Path, None, "folder that makes the simulated world outlive this process"),
)


def main(arguments: list[str]) -> int:
    options, command = _parse(arguments)
    clock = _clock(options.clock or (options.state / "clock.json" if options.state else None), options.speed)
    try:
        with Simulator(
            clock=clock, faults=options.fault, specs=options.specs, state=options.state, speed=options.speed
        ) as simulator:
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
    for name, kind, default, text in _OPTIONS:
        parser.add_argument(name, type=kind, default=default, help=text)
    return parser.parse_args(own), command


def _clock(path: Path | None, speed: float) -> Clock | None:
    if path is None or path.exists():
        return Clock(path) if path else None
    path.parent.mkdir(parents=True, exist_ok=True)
    return Clock.create(path, speed=speed)


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Run COMMAND to its end. Signals go to it: it decides how to stop, and we follow."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **environment}, preexec_fn=die_with_parent)
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
