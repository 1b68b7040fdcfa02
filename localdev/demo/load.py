"""An outside client of online endpoints: real requests at a steady rate, counted by who answered and how.

`python -m localdev.demo.load ROWS REPORT` reads its targets from stdin, as JSON: `[{"name", "uri", "key", "rate"}]`
with requests a wall second; keys are on no command line and in no file. ROWS holds {"columns", "data"}: a request
carries one row. Request n of a target is due at start + n / rate; one that is late is sent at once, so that a stall
leaves no gap in the count. Nothing is tried again: what fails has failed, as a client sees it.
REPORT is written every second and a last time at SIGTERM, when the requests under way are over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from node.lifeline import die_with_parent

DEPLOYMENT_HEADER = "azureml-model-deployment"
TIMEOUT_S = 30.0
WRITE_EVERY_S = 1.0
RECENT = 500  # latencies behind the report's percentiles
EXAMPLES = 10
NOBODY = "-"  # what answered when nothing did


@dataclass(frozen=True)
class Target:
    name: str
    uri: str
    key: str = field(repr=False)
    rate: float = 50.0


@dataclass
class Tally:
    """What one target answered so far."""

    sent: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)  # (deployment, status or exception)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    behind_s: float = 0.0

    def note(self, deployment: str, status: str, seconds: float, text: str = "") -> None:
        self.answers[deployment, status] += 1
        if status == "200":
            self.latencies.setdefault(deployment, []).append(seconds)
        elif len(self.failures) < EXAMPLES:
            self.failures.append(f"{deployment}: {status} {text[:200]}")

    def report(self) -> dict[str, Any]:
        answered = self.answers.total()
        good = sum(count for (_, status), count in self.answers.items() if status == "200")
        by: dict[str, dict[str, Any]] = {}
        for (deployment, status), count in sorted(self.answers.items()):
            by.setdefault(deployment, {})[status] = count
        for deployment, seconds in self.latencies.items():
            newest = sorted(seconds[-RECENT:])
            by[deployment]["p50_ms"], by[deployment]["p95_ms"] = (
                round(1000 * newest[int(share * (len(newest) - 1))], 1) for share in (0.5, 0.95)
            )
        return {
            "sent": self.sent, "answered": answered, "failed": answered - good, "deployments": by,
            "failures": self.failures, "behind_s": round(self.behind_s, 3),
        }  # fmt: skip


class Load:
    """The client as a process of its own. It ends with this block, or with its parent.

    `environment`: the world's, which leads Azure's host names to the simulator.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        rows: Mapping[str, Any],
        *,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self._targets, self._rows, self._environment = targets, rows, environment
        self._folder = folder
        self._report = folder / "load.json"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._report.unlink(missing_ok=True)
        rows = self._folder / "load-rows.json"
        rows.write_text(json.dumps(self._rows))
        with (self._folder / "load.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "localdev.demo.load", str(rows), str(self._report)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self._environment},
            )  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([asdict(target) for target in self._targets]).encode())
        self._process.stdin.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def report(self, name: str) -> dict[str, Any]:
        """What the target of that name answered so far; {"sent": 0, ..} before the first report."""
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads(self._report.read_text())[name])
        return Tally().report()

    def stop(self) -> None:
        """Send nothing more, and wait for the answers that are owed. The report is complete afterwards.

        Raises RuntimeError if the client had died before.
        """
        process, self._process = self._process, None
        if process is None:
            return
        died = process.poll() is not None
        process.terminate()
        try:
            process.wait(timeout=2 * TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if died:
            raise RuntimeError(f"the client died: {(self._folder / 'load.log').read_text()[-2000:]}")


async def _main(targets: Sequence[Target], rows: Mapping[str, Any], report: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bodies = [
        json.dumps({"input_data": {"columns": rows["columns"], "data": [row]}}).encode()
        for row in rows["data"]
    ]
    tallies = {target.name: Tally() for target in targets}
    async with (
        aiohttp.ClientSession(
            trust_env=True,
            connector=aiohttp.TCPConnector(limit=256),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as session,
        asyncio.TaskGroup() as group,
    ):
        for target in targets:
            group.create_task(_steadily(session, target, bodies, tallies[target.name], stop))
        while not stop.is_set():
            _write(report, tallies)
            await _wait(stop, WRITE_EVERY_S)
    _write(report, tallies)


async def _steadily(
    session: aiohttp.ClientSession, target: Target, bodies: Sequence[bytes], tally: Tally, stop: asyncio.Event
) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            early = start + number / target.rate - loop.time()
            if early > 0:
                await _wait(stop, early)
            if stop.is_set():
                return
            tally.behind_s = max(tally.behind_s, -early)
            tally.sent += 1
            group.create_task(_send(session, target, bodies[number % len(bodies)], tally))


async def _send(session: aiohttp.ClientSession, target: Target, body: bytes, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    began = loop.time()
    try:
        async with session.post(target.uri, data=body, headers=headers) as answer:
            text = await answer.text()
            deployment = answer.headers.get(DEPLOYMENT_HEADER, NOBODY)
            tally.note(deployment, str(answer.status), loop.time() - began, text)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        tally.note(NOBODY, type(error).__name__, loop.time() - began, str(error))


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _write(report: Path, tallies: Mapping[str, Tally]) -> None:
    fresh = report.with_suffix(".tmp")
    fresh.write_text(json.dumps({name: tally.report() for name, tally in tallies.items()}))
    fresh.replace(report)


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(
        _main(
            [Target(**told) for told in json.load(sys.stdin)],
            json.loads(Path(sys.argv[1]).read_text()),
            Path(sys.argv[2]),
        )
    )
