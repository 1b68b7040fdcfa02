"""The app's HTTP API, called from the command line."""

from __future__ import annotations

import argparse
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from shared.domain.errors import AppError

SERVED = Path(".muster/serve.json")


class Api:
    def __init__(self, url: str, key: str) -> None:
        self._base, self._key = f"{url.rstrip('/')}/api", key

    def get(self, path: str) -> dict[str, Any]:
        return self._send(urllib.request.Request(f"{self._base}/{path}"))

    def post(
        self, path: str, body: dict[str, Any], headers: dict[str, str], *, query: dict[str, str] | None = None
    ) -> dict[str, Any]:
        url = f"{self._base}/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        data = json.dumps(body).encode()
        headers = {**headers, "Content-Type": "application/json"}
        return self._send(urllib.request.Request(url, data=data, headers=headers, method="POST"))

    def _send(self, request: urllib.request.Request) -> dict[str, Any]:
        """The answer's JSON. Raises AppError with the problem's detail and faults."""
        request.add_header("x-functions-key", self._key)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            raise AppError(_problem(error)) from None
        except urllib.error.URLError as error:
            raise AppError(
                f"no answer from {self._base}: {error.reason}. Is the app running (make serve)?"
            ) from None


def connect(options: argparse.Namespace) -> Api:
    """The API named by options, environment or `make serve`. Raises AppError when none is."""
    served = json.loads(SERVED.read_text()) if SERVED.is_file() else {}
    url = options.url or os.environ.get("MUSTER_URL") or served.get("url")
    key = options.key or os.environ.get("MUSTER_KEY") or served.get("key", "")
    if not url:
        raise AppError("which app? Give --url, set MUSTER_URL, or start one here with `make serve`")
    return Api(url, key)


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.load(error)
    except ValueError:
        return f"the app answered {error.code} {error.reason}"
    faults = "".join(f"\n  {f.get('path') or 'body'}: {f['message']}" for f in problem.get("errors", []))
    return f"{problem.get('detail') or problem.get('title') or error.reason} ({error.code}){faults}"
