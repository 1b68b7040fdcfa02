"""Talking to a runner over HTTP, and running one as a child process."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Self

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parents[2]
_PATIENCE_S = 20.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    method: str,
    url: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    raw: bytes | None = None,
) -> Answer:
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    kind = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, method=method, headers={**kind, **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def until[T](look: Callable[[], T], what: str = "", patience_s: float = _PATIENCE_S) -> T:
    """Look again and again until it is something; fails the test when it never is."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"never came: {what or look}"
        time.sleep(0.01)
    return seen


def finished(status_url: str) -> Any:
    """The status document of an instance, once it is over."""

    def over() -> Any:
        answer = call("GET", status_url)
        assert answer.status in (200, 202), answer
        return answer.json() if answer.status == 200 else None

    return until(over, status_url)


def instance_url(base: str, instance_id: str, suffix: str = "") -> str:
    return f"{base}/runtime/webhooks/durabletask/instances/{instance_id}{suffix}"


def start(base: str, name: str, instance_id: str, body: Any = None) -> str:
    """Start an orchestration through the management API; returns its status URL."""
    url = f"{base}/runtime/webhooks/durabletask/orchestrators/{name}/{instance_id}"
    answer = call("POST", url, body)
    assert answer.status == 202, answer
    return str(answer.json()["statusQueryGetUri"])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """`python -m localdev.runner` with the given arguments; killed on exit if it still runs."""

    def __init__(self, *arguments: str, app: Path, **environment: str) -> None:
        # Not a pipe: one that nobody reads would stop the child when it is full.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed on exit
        self.process = subprocess.Popen(
            [sys.executable, "-m", "localdev.runner", "--app", str(app), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def ready(self) -> Self:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("runner ready http://127.0.0.1:"):
            raise AssertionError(f"{line!r}: {self.errors()}")
        self.url = line.split()[-1]
        return self

    def ended(self) -> tuple[int, str]:
        """Wait for it to exit by itself: exit status and stderr."""
        status = self.process.wait(timeout=_PATIENCE_S)
        return status, self.errors()

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._errors.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
