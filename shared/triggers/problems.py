"""Errors as RFC 9457 problem details: every fault at once, each with its path."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func

from shared.domain.errors import (
    AppError,
    ConflictError,
    NotFoundError,
    SpecError,
    SpecErrors,
    TransientError,
    redact,
)
from shared.triggers.answers import TooLarge
from shared.triggers.principals import Forbidden
from shared.triggers.start import KeyReused

MEDIA_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[AppError], int, str], ...] = (
    (TooLarge, 413, "The request is too large"),
    (SpecError, 400, "The request is not valid"),
    (Forbidden, 403, "The caller may not do this"),
    (KeyReused, 422, "The idempotency key belongs to another request"),
    (ConflictError, 409, "Something else holds this"),
    (NotFoundError, 404, "Not found"),
    (TransientError, 503, "Azure asks to try again later"),
)


def problem(error: AppError) -> func.HttpResponse:
    """The answer for an error we raised on purpose."""
    status, title = next(
        ((s, t) for kind, s, t in _STATUS if isinstance(error, kind)), (500, "It did not work")
    )
    body: dict[str, Any] = {
        "type": f"urn:muster:{type(error).__name__}",
        "title": title,
        "status": status,
        "detail": redact(str(error)),
    }
    if isinstance(error, SpecErrors):
        body["errors"] = [fault.model_dump(mode="json", exclude_none=True) for fault in error.faults]
    headers = {}
    if isinstance(error, TransientError) and error.retry_after_s:
        headers["Retry-After"] = str(int(error.retry_after_s) + 1)
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype=MEDIA_TYPE, headers=headers)
