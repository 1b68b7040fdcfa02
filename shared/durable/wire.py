"""Models to JSON and back, and failures as values. The only place where a payload's shape is not yet known."""

from __future__ import annotations

from typing import Any

from shared.domain.errors import AppError, Failure, from_failure, to_failure
from shared.domain.wire import Wire

MAX_PAYLOAD_BYTES = 16 * 1024


class PayloadTooLarge(ValueError):
    """A step tried to send data through the history; it must go by blob reference."""


class MissingAnswer(RuntimeError):
    """A step came back without an answer (azure-functions-durable-python#318): it is not taken for success."""


def to_wire(value: Wire) -> dict[str, Any]:
    """Plain JSON of `value`. Raises PayloadTooLarge above 16 KB."""
    data = value.model_dump(mode="json")
    size = len(value.model_dump_json())
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"{type(value).__name__} is {size} bytes; at most {MAX_PAYLOAD_BYTES} cross the history"
        )
    return data


def from_wire[W: Wire](model: type[W], data: Any) -> W:
    return model.model_validate(data)


def answer(value: Wire) -> dict[str, Any]:
    return {"ok": to_wire(value)}


def failure(error: AppError) -> dict[str, Any]:
    return {"failure": to_failure(error).model_dump(mode="json")}


def read_answer[W: Wire](model: type[W], data: Any, step: str) -> W:
    """The value a step answered with; raises the AppError it failed with."""
    if isinstance(data, dict) and "ok" in data:
        return from_wire(model, data["ok"])
    if isinstance(data, dict) and "failure" in data:
        raise from_failure(Failure.model_validate(data["failure"]))
    raise MissingAnswer(f"{step} gave no answer")
