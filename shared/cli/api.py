"""The app's HTTP API, called from the command line."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from shared.domain.errors import AppError

SERVED = Path(".muster/serve.json")
SERVED_HUB = Path(".muster/serve/hub.sqlite")
HOW_TO_GIVE_A_KEY = "give --key, or set MUSTER_KEY, to a function key of the app"


class Refused(AppError):
    """The app, or nobody, answered. `problem` is what it said, as RFC 9457 problem details."""

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem
        super().__init__(_told(problem))


class Api:
    def __init__(self, url: str, key: str) -> None:
        self._base, self._key = f"{url.rstrip('/')}/api", key

    def get(self, *path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        return self._send("GET", path, query=query)

    def post(
        self,
        *path: str,
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        return self._send("POST", path, body=body, headers=headers, query=query)

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer's JSON. Raises Refused with the problem's detail and faults."""
        url = "/".join((self._base, *(urllib.parse.quote(part, safe="") for part in path)))
        url += f"?{urllib.parse.urlencode(query)}" if query else ""
        sent = {"x-functions-key": self._key, "Content-Type": "application/json", **(headers or {})}
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(url, data=data, headers=sent, method=method)
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise Refused(_problem(error)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Refused(
                {
                    "title": f"no answer from {self._base}: {reason}",
                    "detail": f"Is the app running? Here it is started with `make serve`{_offline()}",
                }
            ) from None
        except ValueError as error:  # no URL, or no JSON
            raise Refused({"title": f"{self._base} is not the app", "detail": str(error)}) from None
        if not isinstance(answer, dict):
            raise Refused({"title": f"{self._base} is not the app", "detail": f"it answered {answer!r:.100}"})
        return answer


def connect(options: argparse.Namespace) -> Api:
    """The API named by options, environment or `make serve`. Raises AppError when none is."""
    url, key = options.url or os.environ.get("MUSTER_URL"), options.key or os.environ.get("MUSTER_KEY")
    if not url:
        served = _served()
        url, key = served.get("url"), key or served.get("key")
    if not url:
        raise AppError(
            f"which app? Give --url, set MUSTER_URL, or start one here with `make serve`{_offline()}"
        )
    if not key:
        raise AppError(f"no key for {url}: {HOW_TO_GIVE_A_KEY}")
    return Api(url, key)


def _offline() -> str:
    return f"; what it ran before: runs --hub {SERVED_HUB}" if SERVED_HUB.exists() else ""


def _served() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(SERVED.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _problem(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        problem = json.load(error)
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        return problem
    detail = f"Not with this key: {HOW_TO_GIVE_A_KEY}" if error.code in (401, 403) else ""
    return {
        "title": f"the app answered {error.code} {error.reason}",
        "status": error.code,
        "detail": detail,
    }


def _told(problem: dict[str, Any]) -> str:
    said = ": ".join(str(problem[part]) for part in ("title", "detail") if problem.get(part))
    faults = problem.get("errors") or ()
    if not faults:
        return said
    return str(problem["title"]) + "".join(f"\n  {_fault(fault)}" for fault in faults)


def _fault(fault: dict[str, Any]) -> str:
    allowed = f"; allowed: {fault['allowed']}" if fault.get("allowed") else ""
    hint = f". {fault['hint']}" if fault.get("hint") else ""
    return f"{fault.get('path') or 'the request'}: {fault['message']}{allowed}{hint}"
