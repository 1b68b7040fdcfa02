"""Azure ML's convention over the service: init() once, run(request) for each request.

With azureml-inference-server-http, run() gets the raw request, so that it can say 400 and 413; without it, it gets the
body's text and returns what the server makes into JSON.
Source: Azure/azureml-inference-server, azureml_inference_server_http/server/user_script.py and api/aml_request.py.
"""

from __future__ import annotations

import atexit
import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

from node.errors import NodeError, reason_of
from node.serving.loading import one_thread_each
from node.serving.service import Answer, Service, open_service

try:
    from azureml_inference_server_http.api import aml_request
    from azureml_inference_server_http.api.aml_response import AMLResponse
except ImportError:
    aml_request = AMLResponse = None

USER_CODE = "user_code"  # the folder of the user's own script, beside the package `node`
MANIFEST = (
    "muster-serving.json"  # {"entry": "score.py"} of the user's own script; absent where Muster's serves
)
_ROOT = Path(__file__).resolve().parents[2]

_service: Service | None = None


def init() -> None:
    """Open the service. Its one line of error goes to the log before the server's own stack traces."""
    global _service
    one_thread_each()
    logging.getLogger("node").setLevel(logging.INFO)
    try:
        _service = open_service(code=_code(), entry=_entry())
    except NodeError as error:
        sys.stderr.write(f"muster: cannot serve: {error.kind}: {reason_of(error)}\n")
        sys.stderr.flush()
        raise
    atexit.register(_service.close)


def run(request: Any) -> Any:
    if isinstance(request, str | bytes):
        return service().answer("POST", {}, io.BytesIO(_encoded(request))).body
    return _response(service().answer(request.method, request.headers, request.stream))


def service() -> Service:
    assert _service is not None, "init() comes first"
    return _service


def _response(answer: Answer) -> Any:
    text = json.dumps(answer.body, allow_nan=False)
    return AMLResponse(text, answer.status, {"Content-Type": "application/json", **answer.headers})


def _encoded(text: str | bytes) -> bytes:
    return text.encode(errors="replace") if isinstance(text, str) else text


def _entry() -> str:
    manifest = _ROOT / MANIFEST
    return str(json.loads(manifest.read_text())["entry"]) if manifest.is_file() else ""


def _code() -> Path | None:
    return _ROOT / USER_CODE if (_ROOT / MANIFEST).is_file() else None


if aml_request is not None:
    run = aml_request.rawhttp(run)
