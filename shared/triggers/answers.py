"""What routes share: reading a request within limits, and answering in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import azure.functions as func
from pydantic import BaseModel, ValidationError

from shared.domain import names
from shared.domain.errors import Fault, NotFoundError, SpecError, SpecErrors

MAX_BODY_BYTES = 64 * 1024
MAX_LISTED = 100


class TooLarge(SpecError):
    """A body over the limit, refused unread."""


def json_answer(
    body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> func.HttpResponse:
    return func.HttpResponse(
        json.dumps(body), status_code=status, mimetype="application/json", headers=headers
    )


def body_of(req: func.HttpRequest) -> bytes:
    """The body, if it may be read. Raises TooLarge."""
    raw: bytes = req.get_body()
    if len(raw) > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {len(raw)} bytes; at most {MAX_BODY_BYTES} are read")
    return raw


def read_body[M: BaseModel](req: func.HttpRequest, model: type[M]) -> M:
    """The body as a model. Raises SpecErrors with every fault in it."""
    try:
        return model.model_validate_json(body_of(req))
    except ValidationError as error:
        faults = [Fault(path=".".join(map(str, e["loc"])), message=e["msg"]) for e in error.errors()]
        raise SpecErrors(source="body", faults=faults) from None


def wrong(path: str, message: str) -> SpecErrors:
    return refused([Fault(path=path, message=message)])


def refused(faults: Sequence[Fault]) -> SpecErrors:
    return SpecErrors(source="request", faults=faults)


def idempotency_key(req: func.HttpRequest) -> str | None:
    """What the caller calls its request, if it does. Raises SpecErrors."""
    key: str | None = req.headers.get("Idempotency-Key") or None
    if key and len(key) > 200:
        raise wrong("Idempotency-Key", "must have 1 to 200 characters")
    return key


def run_of(req: func.HttpRequest) -> str:
    """The run that the route names. Raises NotFoundError for what can be none."""
    run = str(req.route_params.get("id", ""))
    if not names.is_run_id(run):
        raise NotFoundError(f"no run {run[:100]!r}", code="NoRun")
    return run


def iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
