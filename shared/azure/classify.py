"""Azure's refusals as our errors: one table, and the only place that knows Azure's error codes.

Answers are in classes by what their reader should do:
  A  wait, then ask again         B  look at the resource again, then decide
  C  no room here: try elsewhere  D  stop, clean up, tell the user       E  stop, clean up, call an administrator
A and B become TransientError, C CapacityError, D and E what fits best. A code that is not in the table is D.

Sources: learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors,
.../azure/virtual-machines/troubleshoot-vm-allocation, .../azure/networking/troubleshoot-failed-state,
.../rest/api/storageservices/blob-service-error-codes, .../azure/machine-learning/how-to-troubleshoot-online-endpoints.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from shared.domain.errors import (
    CapacityError,
    ConflictError,
    DeniedError,
    NotFoundError,
    PlatformError,
    TransientError,
)

Class = Literal["A", "B", "C", "D", "E"]


@dataclass(frozen=True)
class Rule:
    """What a code means. `retry_after_s` is used where Azure names no time of its own."""

    reaction: Class
    error: type[PlatformError]
    retry_after_s: float | None = None


_WAIT = Rule("A", TransientError)
_LOOK_AGAIN = Rule("B", TransientError)
_ELSEWHERE = Rule("C", CapacityError)
_STOP = Rule("D", PlatformError)
_TAKEN = Rule("D", ConflictError)
_MISSING = Rule("D", NotFoundError)
_DENIED = Rule("D", DeniedError)
_LOCKED = Rule("E", PlatformError)
_ADMIN = Rule("E", PlatformError)

NO_ANSWER = "NoAnswer"  # our code, for a request of which nobody knows whether it was done

RULES: Mapping[str, Rule] = {
    # A: throttling and locks inside Azure
    "TooManyRequests": _WAIT,
    "SubscriptionRequestsThrottled": _WAIT,
    "ServerBusy": _WAIT,
    "ServerTimeout": _WAIT,
    "OperationTimedOut": _WAIT,
    "InternalError": _WAIT,
    "InternalServerError": _WAIT,
    "InternalExecutionError": _WAIT,
    "ServiceUnavailable": _WAIT,
    "GatewayTimeout": _WAIT,
    "RetryableError": _WAIT,
    "RetryableErrorDueToAnotherOperation": _WAIT,
    "AnotherOperationInProgress": _WAIT,
    "ExpiredAuthenticationToken": _WAIT,
    "NicReservedForAnotherVm": Rule("A", TransientError, 180.0),
    "ACRSecretError": Rule("A", TransientError, 60.0),  # a role that was given is not known everywhere yet
    "ACRTokenExchangeFailed": Rule("A", TransientError, 60.0),
    # B: somebody else is at work on it, or it is still attached: its state decides, not this answer
    "Conflict": _LOOK_AGAIN,
    "OperationPreempted": _LOOK_AGAIN,
    "OperationCanceled": _LOOK_AGAIN,
    "ParentResourceNotFound": _LOOK_AGAIN,  # reads and writes lag each other right after a create
    "PublicIPAddressCannotBeDeleted": _LOOK_AGAIN,
    "NicInUse": _LOOK_AGAIN,
    "NetworkInterfaceInUse": _LOOK_AGAIN,
    "AttachDiskWhileBeingDetached": _LOOK_AGAIN,
    "DiskInUse": _LOOK_AGAIN,
    # C: no stock or no quota
    "AllocationFailed": _ELSEWHERE,
    "ZonalAllocationFailed": _ELSEWHERE,
    "OverconstrainedAllocationRequest": _ELSEWHERE,
    "OverconstrainedZonalAllocationRequest": _ELSEWHERE,
    "SkuNotAvailable": _ELSEWHERE,
    "QuotaExceeded": _ELSEWHERE,
    "ResourceQuotaExceeded": _ELSEWHERE,
    "PublicIPCountLimitReached": _ELSEWHERE,
    "OutOfQuota": _ELSEWHERE,
    "OutOfCapacity": _ELSEWHERE,
    "AllocationTimedout": _ELSEWHERE,
    "ClusterCoreQuotaReached": _ELSEWHERE,
    "ClusterMinNodesExceedCoreQuota": _ELSEWHERE,
    "PodUnschedulable": _ELSEWHERE,
    # D: nobody but the user can help
    "PropertyChangeNotAllowed": _STOP,
    "RequestDisallowedByPolicy": _STOP,
    "BadArgument": _STOP,
    "ImageBuildFailure": _STOP,
    "ResourceNotReady": _STOP,
    "DeploymentCrashLoopBackOff": _STOP,
    "KubernetesCrashLoopBackOff": _STOP,
    "UserScriptInitFailed": _STOP,
    "UserScriptImportError": _STOP,
    "UserScriptFunctionNotFound": _STOP,
    "ValidateScoringFailed": _STOP,
    "InvalidDeploymentSpec": _STOP,
    "PodOutOfMemory": _STOP,
    "SecretsInjectionError": _DENIED,
    "EndpointAlreadyExists": _TAKEN,
    "EndpointNotFound": _MISSING,
    "InvalidParameter": _STOP,
    "InvalidResourceType": _STOP,
    "OSProvisioningTimedOut": _STOP,
    "ResourceGroupBeingDeleted": _STOP,
    "AuthorizationFailed": _DENIED,
    "LinkedAuthorizationFailed": _DENIED,
    "AuthorizationPermissionMismatch": _DENIED,
    "AuthorizationFailure": _DENIED,
    "InvalidAuthenticationToken": _DENIED,
    "InvalidAuthenticationTokenTenant": _DENIED,
    "PreconditionFailed": _TAKEN,
    "ConditionNotMet": _TAKEN,
    "BlobAlreadyExists": _TAKEN,
    "ContainerAlreadyExists": _TAKEN,
    "ResourceNotFound": _MISSING,
    "NotFound": _MISSING,
    "ResourceGroupNotFound": _MISSING,
    "BlobNotFound": _MISSING,
    "ContainerNotFound": _MISSING,
    # E: something stands in the way of a release, or the cluster is out of order
    "ScopeLocked": _LOCKED,
    "TokenRefreshFailed": _ADMIN,
    "GetAADTokenFailed": _ADMIN,
    "ACRAuthenticationChallengeFailed": _ADMIN,
    "KubernetesUnaccessible": _ADMIN,
    "ImagePullLoopBackOff": _ADMIN,
    "NamespaceNotFound": _ADMIN,
    "ScoringFeUnhealthy": _ADMIN,
    "InferencingClientCallFailed": _ADMIN,
    "ComputeNotFound": _ADMIN,
    "ComputeNotAccessible": _ADMIN,
    "InvalidComputeInformation": _ADMIN,
    "ClusterNotFound": _ADMIN,
    "ClusterNotReachable": _ADMIN,
    "ClusterServiceNotFound": _ADMIN,
}

_BY_STATUS: Mapping[int, Rule] = {
    401: _DENIED,
    403: _DENIED,
    404: _MISSING,
    408: _WAIT,
    412: _TAKEN,
    425: _WAIT,
    429: _WAIT,
}

# Compute says OperationNotAllowed for opposite things; only its text tells them apart.
_NOT_ALLOWED: tuple[tuple[str, Rule], ...] = (
    (r"quota|exceeding approved|lowprioritycores", _ELSEWHERE),
    (r"marked for deletion|being deleted|in progress|being deallocated", _LOOK_AGAIN),
    (r"running|deallocated|power ?state", _TAKEN),
)

# Azure ML has no code of its own for a cluster that its quotas forbid (Azure/mlops-v2#81, InnerEye-DeepLearning#253).
_ML_QUOTA = re.compile(r"vCPU quota of \d+ and cannot accomm?odate|exceeding quota limits", re.IGNORECASE)

# Azure ML takes one change of an endpoint at a time, and none for some moments after it (Azure/azure-sdk-for-net#36961,
# Azure/azure-cli#17075). What refuses the next one comes under "UserError" or "Conflict", as 409 or 400.
_ML_BUSY = re.compile(
    r"in (?:Creating|Updating|Scaling|Deleting) provisioning state|another operation on (?:the )?same entity",
    re.IGNORECASE,
)
_ML_BUSY_RULE = Rule("B", TransientError, 60.0)

# What Azure ML puts around the code that says something, which is then among the details.
_WRAPPERS = frozenset({"", "UserError", "BadRequest", "ValidationError"})

_ACTION = re.compile(r"perform action(?:\(s\))? '([^']+)'", re.IGNORECASE)
_SCOPE = re.compile(r"(?:over scope|linked scope\(s\)|on scope) '([^']+)'", re.IGNORECASE)


def rule_for(code: str, message: str = "", *, status: int | None = None) -> Rule:
    """The rule for a code and an HTTP status. Throttling is known by its status: it comes under many codes."""
    if status in (408, 425, 429):
        return _WAIT
    if code == "OperationNotAllowed":
        found = (rule for pattern, rule in _NOT_ALLOWED if re.search(pattern, message, re.IGNORECASE))
        return next(found, _STOP)
    if _ML_QUOTA.search(message):
        return _ELSEWHERE
    if _ML_BUSY.search(message):
        return _ML_BUSY_RULE
    if code in RULES:
        return RULES[code]
    if status is not None and status >= 500:
        return _WAIT
    return _BY_STATUS.get(status or 0, _STOP)


def error_for(
    code: str,
    message: str = "",
    *,
    status: int | None = None,
    target: str | None = None,
    correlation_id: str | None = None,
    retry_after_s: float | None = None,
) -> PlatformError:
    """Our error for Azure's code and text, also where they come from a resource's state rather than a refused request."""
    rule = rule_for(code, message, status=status)
    said = f"{target}: {code or status}: {message}" if target else f"{code or status}: {message}"
    if rule.error is TransientError:
        wait_s = retry_after_s if retry_after_s is not None else rule.retry_after_s
        return TransientError(
            said, code=code, correlation_id=correlation_id, target=target, retry_after_s=wait_s
        )
    if rule.error is DeniedError:
        action, scope = _ACTION.search(message), _SCOPE.search(message)
        return DeniedError(
            said,
            code=code,
            correlation_id=correlation_id,
            target=target,
            role=f"one that allows {action[1]}" if action else None,
            scope=scope[1] if scope else None,
        )
    return rule.error(said, code=code, correlation_id=correlation_id, target=target)


@contextmanager
def classified(target: str) -> Iterator[None]:
    """Every SDK exception raised inside becomes one of ours; `target` says what was tried, on what."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        raise error_from(error, target) from error


def error_from(error: Exception, target: str) -> PlatformError:
    """Our error for an SDK exception."""
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        IncompleteReadError,
        ServiceRequestError,
        ServiceResponseError,
    )

    response = getattr(error, "response", None)
    if isinstance(error, HttpResponseError) and response is not None and response.status_code >= 400:
        return error_from_response(
            response.status_code, response.headers, _body(response), target, reason=error.message
        )
    if isinstance(error, ServiceRequestError | ServiceResponseError | IncompleteReadError):
        # It may have been done, even where the SDK says it was not sent: behind a proxy urllib3 calls a connection that
        # broke during the answer "unable to connect to proxy". Whoever repeats the request looks first.
        return TransientError(f"{target}: {error}", code=NO_ANSWER, target=target)
    if isinstance(error, ClientAuthenticationError):
        # No token: the identity endpoint is being updated, is throttled, or does not know the identity. The first
        # two pass (Azure asks for 70 s after a 410); the last ends when the retry policy gives up.
        return TransientError(
            f"{target}: no token: {error.message}", code="NoToken", target=target, retry_after_s=70.0
        )
    return PlatformError(f"{target}: {error}", code=type(error).__name__, target=target)


def error_from_response(
    status: int, headers: Mapping[str, str], body: Any, target: str, *, reason: str = ""
) -> PlatformError:
    """Our error for an HTTP answer that is not a success."""
    told = body.get("error", body) if isinstance(body, dict) else {}
    told = told if isinstance(told, dict) else {}
    return error_for(
        str(headers.get("x-ms-error-code") or told_code(told)),
        str(told.get("message") or reason),
        status=status,
        target=target,
        correlation_id=headers.get("x-ms-correlation-request-id") or headers.get("x-ms-request-id"),
        retry_after_s=retry_after_s(headers),
    )


def told_code(error: Mapping[str, Any]) -> str:
    """The code of an error, or the one among its details that we know where its own says nothing."""
    code = str(error.get("code") or "")
    if code not in _WRAPPERS:
        return code
    inner = (told_code(each) for each in error.get("details") or () if isinstance(each, Mapping))
    return next((each for each in inner if each in RULES), code)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by the answer's own word: in milliseconds, in seconds or as a date. None if it says nothing."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if milliseconds := headers.get(name):
            return _number(milliseconds, scale=0.001)
    text = headers.get("Retry-After")
    if not text:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(text) - date_of(headers)).total_seconds())
    except ValueError:
        return None


def date_of(headers: Mapping[str, str]) -> datetime:
    """The server's own time of an answer. Raises ValueError when it has none: the host's clock is no stand-in for it."""
    text = headers.get("Date")
    if not text:
        raise ValueError("the answer has no Date header")
    return parsedate_to_datetime(text).astimezone(UTC)


def _number(text: str, *, scale: float = 1.0) -> float | None:
    try:
        return max(0.0, float(text) * scale)
    except ValueError:
        return None


def _body(response: Any) -> Any:
    from azure.core.exceptions import AzureError

    try:
        return json.loads(response.text())
    except (ValueError, AzureError):  # an unreadable body must not hide the refusal it came with
        return None
