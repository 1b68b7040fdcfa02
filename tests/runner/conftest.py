from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from localdev.clock import Clock
from localdev.runner import Runner
from tests.runner.support import APPS

START = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
Trace = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A virtual clock that stands still at 00:30 until a test advances it."""
    return Clock.create(tmp_path / "clock.json", start=START, speed=0)


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trace:
    """What the functions of `basics` wrote down, by function name."""
    path = tmp_path / "trace.jsonl"
    monkeypatch.setenv("TRACE", str(path))

    def lines(name: str) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [record for record in records if record["name"] == name]

    return lines


@pytest.fixture
def basics(clock: Clock, trace: Trace) -> Iterator[Runner]:
    with Runner(APPS / "basics", clock=clock) as runner:
        yield runner
