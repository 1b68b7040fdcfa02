"""What can go wrong, as the one who acts on it tells it apart.

AppError
  SpecError            the workload is wrong: path and reason, HTTP 400, never retried
    SpecErrors         every fault of one declaration at once
  PlatformError        Azure said no: code, message, correlation_id, target
    TransientError     retry after `retry_after_s` (429, 5xx, AnotherOperationInProgress)
    CapacityError      no stock or quota here (SkuNotAvailable, AllocationFailed): try the next offer
    ConflictError      it exists and is not ours
    NotFoundError      it is not there
    DeniedError        identity lacks a role: names the role and scope
  JobFailed            the user's code failed: exit status and log URI
  LeaseLost  Cancelled  RolloutAborted

A failure that is expected crosses the durable boundary as a value: `to_failure` there, `from_failure` back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from pydantic import JsonValue

from shared.domain.redaction import redact
from shared.domain.wire import Wire

__all__ = [
    "AppError",
    "Cancelled",
    "CapacityError",
    "ConflictError",
    "DeniedError",
    "Failure",
    "Fault",
    "JobFailed",
    "LeaseLost",
    "NotFoundError",
    "PlatformError",
    "RolloutAborted",
    "SpecError",
    "SpecErrors",
    "TransientError",
    "from_failure",
    "redact",
    "to_failure",
]


class Fault(Wire):
    """One thing wrong with a declaration: where, what, what is allowed, what to do. Lines and columns count from 1."""

    path: str  # "schedule.cron"; "" is the whole document
    message: str
    line: int | None = None
    column: int | None = None
    allowed: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        said = f"{self.path}: {self.message}" if self.path else self.message
        if self.allowed:
            said += f"; allowed: {self.allowed}"
        return f"{said}. {self.hint}" if self.hint else said


class Failure(Wire):
    """An error as a value. `facts` holds the attributes that the type declares in FACTS."""

    type: str
    message: str
    facts: dict[str, JsonValue] = {}


class AppError(Exception):
    """Anything the application raises on purpose. `message` = what was tried, on what, what came back."""

    FACTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def facts(self) -> dict[str, JsonValue]:
        return {name: getattr(self, name) for name in self.FACTS}

    @classmethod
    def from_facts(cls, message: str, facts: Mapping[str, JsonValue]) -> Self:
        return cls(message, **{name: facts[name] for name in cls.FACTS if name in facts})


class SpecError(AppError):
    """A request or a declaration is wrong. Retrying cannot help; the caller must change it."""


class SpecErrors(SpecError):
    """Every fault found in one declaration; `source` names the file or request it came from."""

    FACTS = ("source", "faults")

    def __init__(self, message: str = "", *, source: str = "", faults: Sequence[Fault] = ()) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(message or "\n".join(f"{self._where(fault)}: {fault}" for fault in self.faults))

    def _where(self, fault: Fault) -> str:
        return ":".join(str(part) for part in (self.source, fault.line, fault.column) if part)

    def facts(self) -> dict[str, JsonValue]:
        return {"source": self.source, "faults": [fault.model_dump(mode="json") for fault in self.faults]}

    @classmethod
    def from_facts(cls, message: str, facts: Mapping[str, JsonValue]) -> Self:
        faults = facts.get("faults")
        listed = faults if isinstance(faults, list) else []
        return cls(
            message,
            source=str(facts.get("source", "")),
            faults=[Fault.model_validate(fault) for fault in listed],
        )


class PlatformError(AppError):
    """The platform refused. `code` is Azure's error code, `target` the resource it was about."""

    FACTS: ClassVar[tuple[str, ...]] = ("code", "correlation_id", "target")

    def __init__(
        self, message: str, *, code: str = "", correlation_id: str | None = None, target: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.correlation_id = correlation_id
        self.target = target


class TransientError(PlatformError):
    """It may succeed when asked again, not before `retry_after_s` seconds have passed (None: the platform named none)."""

    FACTS = (*PlatformError.FACTS, "retry_after_s")

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        correlation_id: str | None = None,
        target: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, correlation_id=correlation_id, target=target)
        self.retry_after_s = retry_after_s


class CapacityError(PlatformError):
    """No stock or no quota here and now: another size, region or priority may have it."""


class ConflictError(PlatformError):
    """Something of that name exists and is not ours, or is not in the state we read."""


class NotFoundError(PlatformError):
    """It is not there."""


class DeniedError(PlatformError):
    """The identity lacks `role` on `scope`. Only an administrator can help."""

    FACTS = (*PlatformError.FACTS, "role", "scope")

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        correlation_id: str | None = None,
        target: str | None = None,
        role: str | None = None,
        scope: str | None = None,
    ) -> None:
        super().__init__(message, code=code, correlation_id=correlation_id, target=target)
        self.role = role
        self.scope = scope


class JobFailed(AppError):
    """The user's code, model or data failed on a healthy machine."""

    FACTS = ("exit_status", "log_uri")

    def __init__(self, message: str, *, exit_status: int | None = None, log_uri: str | None = None) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        self.log_uri = log_uri


class LeaseLost(AppError):
    """The machine is gone, or another run holds it."""

    FACTS = ("lease",)

    def __init__(self, message: str, *, lease: str | None = None) -> None:
        super().__init__(message)
        self.lease = lease


class Cancelled(AppError):
    """Somebody asked for the run to stop."""


class RolloutAborted(AppError):
    """The new version was not good enough; traffic is back where it was."""


_TYPES: dict[str, type[AppError]] = {
    kind.__name__: kind
    for kind in (
        AppError,
        SpecError,
        SpecErrors,
        PlatformError,
        TransientError,
        CapacityError,
        ConflictError,
        NotFoundError,
        DeniedError,
        JobFailed,
        LeaseLost,
        Cancelled,
        RolloutAborted,
    )
}


def to_failure(error: Exception) -> Failure:
    """The error as a value, its texts redacted. Any exception may be given; what is not an AppError keeps no facts."""
    if not isinstance(error, AppError):
        return Failure(type=type(error).__name__, message=redact(str(error)))
    facts = {name: _redacted(fact) for name, fact in error.facts().items()}
    return Failure(type=type(error).__name__, message=redact(error.message), facts=facts)


def from_failure(failure: Failure) -> AppError:
    """The error again, of the type it was raised as. A type not in the tree becomes an AppError that names it."""
    kind = _TYPES.get(failure.type)
    if kind is None:
        return AppError(f"{failure.type}: {failure.message}")
    return kind.from_facts(failure.message, failure.facts)


def _redacted(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return value
