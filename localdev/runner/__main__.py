"""`python -m localdev.runner --app DIR --port N [--hub FILE | --memory] [--keys FILE] [--clock FILE] [--quiet]`"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from localdev.clock import ENVIRONMENT_VARIABLE, Clock
from localdev.runner import log
from localdev.runner.errors import AppError
from localdev.runner.host import Runner


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 stopped by a signal, 1 the app or the port cannot be used (why is on stderr)."""
    options = _parse(arguments)
    clock = _clock(options.clock)
    log.configure(clock, quiet=options.quiet)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    hub, keys = (path.resolve() if path else None for path in (options.hub, options.keys))
    app_dir = options.app.resolve()
    try:
        os.chdir(app_dir)  # as the worker does: an app may read files beside itself
        runner = Runner(app_dir, port=options.port, hub=hub, keys=keys, clock=clock).start()
    except (AppError, OSError) as error:
        print(f"runner: {error}", file=sys.stderr)
        return 1
    print(f"runner ready {runner.url}", flush=True)
    stop.wait()
    runner.stop()
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m localdev.runner", description="Run a durable function app here."
    )
    parser.add_argument("--app", type=Path, required=True, metavar="DIR", help="folder of function_app.py")
    parser.add_argument("--port", type=int, default=7071, metavar="N", help="0 takes a free port")
    state = parser.add_mutually_exclusive_group()
    state.add_argument("--hub", type=Path, metavar="FILE", help="SQLite file that keeps durable state")
    state.add_argument("--memory", action="store_true", help="forget everything at the end (the default)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="enforce access keys; made when absent")
    parser.add_argument("--clock", type=Path, metavar="FILE", help="shared virtual clock; made when absent")
    parser.add_argument("--quiet", action="store_true", help="log warnings and errors only")
    return parser.parse_args(arguments)


def _clock(path: Path | None) -> Clock:
    if path is None:
        return Clock.from_environment()
    os.environ[ENVIRONMENT_VARIABLE] = str(path.resolve())
    return Clock(path.resolve()) if path.exists() else Clock.create(path.resolve())


def _leave(status: int) -> None:
    """Exit even while a function's thread refuses to end: its work item is the hub's to redeliver.

    An ordinary exit would join the worker's thread pool first, and wait for ever.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _leave(main())
