"""One line per event: when (by the virtual clock), what, which invocation, how long."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

from localdev.clock import Clock

logger = logging.getLogger("localdev.runner")
_NOISY = (
    "azure.core",
    "azure.durable_functions",
    "azure.functions",
    "azure.identity",
    "aiohttp.access",
    "asyncio",
    "durabletask",
    "urllib3",
)


class _Line(logging.Formatter):
    def __init__(self, clock: Clock) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(invocation)s%(name)s: %(message)s")
        self._clock = clock

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _name_invocation(record: logging.LogRecord) -> bool:
    """Mark a line of the app's own with the invocation that wrote it."""
    from azure_functions_runtime import invocation_id_cv

    invocation = invocation_id_cv.get()
    record.invocation = f"[{invocation[:8]}] " if invocation else ""
    return True


def configure(clock: Clock, *, quiet: bool, stream: TextIO | None = None) -> None:
    """Set up the process's logging (command line only; a Runner in a test leaves logging to the test)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Line(clock))
    handler.addFilter(_name_invocation)
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR if quiet else logging.WARNING)


class Stopwatch:
    """Wall time of one invocation, in milliseconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def ms(self) -> int:
        return round((time.perf_counter() - self._start) * 1000)
