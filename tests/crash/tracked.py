"""What a run in Azure ML finds and tells, in this process: an environment of its own, and metrics while it trains.

The requests are node.tracking's own (see `wire`). Only the thread that looks every second for what a program has
written is left out: the program here says when it has.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

from node import tracking, training, trial

METRIC = "auc"
EPOCHS = 3  # of learning; after the n-th a model is as good as n of EPOCHS parts of what it will be


class _Process(threading.local):
    """What belongs to the process of an agent: each strand has a thread of its own."""

    def __init__(self) -> None:
        self.environ: Mapping[str, str] = {}
        self.reports: _Reports | None = None


_process = _Process()


class _Reports(tracking.Reports):
    """Looks when the program has written, not every second of wall time on a thread of its own."""

    def __enter__(self) -> Self:
        _process.reports = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _process.reports = None
        super().__exit__(kind, error, trace)


def begin(environment: Mapping[str, str]) -> None:
    """A process begins on this thread, with this environment."""
    _process.environ, _process.reports = environment, None


def learn(strength: float, out: Path) -> None:
    """A program that trains better and better writes so, and what runs beside it sends it on."""
    reports = _process.reports
    if reports is None:
        return
    for epoch in range(1, EPOCHS + 1):
        with (out / tracking.REPORTS).open("a") as file:
            file.write(json.dumps({METRIC: strength * epoch / EPOCHS}) + "\n")
        reports._look()


def patches() -> Iterator[AbstractContextManager[Any]]:
    """An agent sees its own environment, and has no thread that looks."""
    for module in (training, trial):
        yield mock.patch.object(module, "os", _process)
    yield mock.patch.object(trial, "Reports", _Reports)
