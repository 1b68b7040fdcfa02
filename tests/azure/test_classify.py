"""Azure's refusals: one row of the table a test, and the texts Azure really sends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.core.exceptions import (
    ClientAuthenticationError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from shared.azure.classify import (
    RULES,
    classified,
    date_of,
    error_for,
    error_from_response,
    retry_after_s,
    rule_for,
    told_code,
)
from shared.domain.errors import (
    CapacityError,
    ConflictError,
    DeniedError,
    NotFoundError,
    PlatformError,
    TransientError,
)

_QUOTA = (
    "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores quota. "
    "Current Limit: 10, Current Usage: 8, Additional Required: 4"
)
_MARKED = "Operation 'deallocate' is not allowed on VM 'v' since the VM is marked for deletion."
_NO_ROLE = (
    "The client 'c' with object id 'o' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/write' over scope '/subscriptions/s/resourceGroups/g' or the scope is invalid."
)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (429, "TooManyRequests", "", TransientError),
        (429, "OperationNotAllowed", "too many requests have been received", TransientError),
        (429, "SomethingNew", "", TransientError),
        (503, "ServerBusy", "", TransientError),
        (500, "", "", TransientError),
        (409, "AnotherOperationInProgress", "", TransientError),
        (429, "RetryableErrorDueToAnotherOperation", "", TransientError),
        (409, "Conflict", "", TransientError),
        (409, "OperationPreempted", "", TransientError),
        (None, "ClusterCoreQuotaReached", "", CapacityError),
        (None, "ClusterMinNodesExceedCoreQuota", "", CapacityError),
        (
            400,
            "BadRequest",
            "The specified subscription has a total vCPU quota of 0 and cannot accomodate for at least 1 requested "
            "managed compute node which maps to 2 vCPUs.",
            CapacityError,
        ),
        (
            400,
            "UserError",
            "Operation results in exceeding quota limits of Total Cluster vCPUs",
            CapacityError,
        ),
        (400, "BadRequest", "The request is invalid.", PlatformError),
        (400, "NicReservedForAnotherVm", "", TransientError),
        (401, "ExpiredAuthenticationToken", "", TransientError),
        (409, "OperationNotAllowed", _MARKED, TransientError),
        (409, "OperationNotAllowed", _QUOTA, CapacityError),
        (409, "OperationNotAllowed", "exceeding approved LowPriorityCores quota", CapacityError),
        (409, "OperationNotAllowed", "The operation requires the VM to be running.", ConflictError),
        (409, "OperationNotAllowed", "Changing the dial is not allowed.", PlatformError),
        (409, "SkuNotAvailable", "", CapacityError),
        (409, "AllocationFailed", "", CapacityError),
        (None, "ZonalAllocationFailed", "", CapacityError),
        (None, "OverconstrainedAllocationRequest", "", CapacityError),
        (400, "PublicIPCountLimitReached", "", CapacityError),
        (412, "PreconditionFailed", "", ConflictError),
        (412, "", "", ConflictError),
        (409, "BlobAlreadyExists", "", ConflictError),
        (404, "ResourceNotFound", "", NotFoundError),
        (404, "", "", NotFoundError),
        (403, "AuthorizationFailed", _NO_ROLE, DeniedError),
        (403, "", "", DeniedError),
        (403, "RequestDisallowedByPolicy", "", PlatformError),
        (409, "ScopeLocked", "", PlatformError),
        (409, "PropertyChangeNotAllowed", "", PlatformError),
        (409, "ResourceGroupBeingDeleted", "", PlatformError),
        (400, "InvalidParameter", "", PlatformError),
        (None, "OSProvisioningTimedOut", "", PlatformError),
        (418, "NeverSeenBefore", "", PlatformError),
    ],
)
def test_a_refusal_becomes_the_error_its_reader_would_act_on(
    status: int | None, code: str, message: str, expected: type[PlatformError]
) -> None:
    assert type(error_for(code, message, status=status)) is expected


@pytest.mark.parametrize("code", RULES)
def test_every_code_of_the_table_is_told_with_its_facts(code: str) -> None:
    error = error_for(code, "why", status=409, target="create VM v", correlation_id="c-1")

    assert type(error) is RULES[code].error
    assert (error.code, error.target, error.correlation_id) == (code, "create VM v", "c-1")
    assert str(error) == f"create VM v: {code}: why"


def test_only_classes_a_and_b_are_worth_another_try() -> None:
    transient = {code for code, rule in RULES.items() if rule.error is TransientError}

    assert transient == {code for code, rule in RULES.items() if rule.reaction in "AB"}
    assert {rule.error for rule in RULES.values() if rule.reaction == "C"} == {CapacityError}
    assert rule_for("NeverSeenBefore").reaction == "D"


def test_a_denial_names_the_action_and_the_scope() -> None:
    error = error_for("AuthorizationFailed", _NO_ROLE, status=403)

    assert isinstance(error, DeniedError)
    assert error.role == "one that allows Microsoft.Compute/virtualMachines/write"
    assert error.scope == "/subscriptions/s/resourceGroups/g"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "17"}, 17.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ms-retry-after-ms": "1500", "Retry-After": "60"}, 1.5),
        (
            {"Retry-After": "Fri, 01 Mar 2026 05:00:30 GMT", "Date": "Fri, 01 Mar 2026 05:00:00 GMT"},
            30.0,
        ),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_the_one_azure_asked_for(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers) == expected


def test_a_throttled_answer_carries_its_wait() -> None:
    body = {"error": {"code": "SubscriptionRequestsThrottled", "message": "slow down"}}
    headers = {"Retry-After": "1200", "x-ms-correlation-request-id": "c-2"}

    error = error_from_response(429, headers, body, "list sizes")

    assert isinstance(error, TransientError)
    assert (error.retry_after_s, error.correlation_id) == (1200.0, "c-2")


def test_a_reserved_nic_is_left_alone_for_three_minutes() -> None:
    error = error_for("NicReservedForAnotherVm", status=400)

    assert isinstance(error, TransientError) and error.retry_after_s == 180.0


@pytest.mark.parametrize("body", [None, "<html>", [], {"error": "no"}, {"error": None}])
def test_a_refusal_without_arm_s_form_is_still_told(body: Any) -> None:
    error = error_from_response(502, {}, body, "read VM v", reason="Bad Gateway")

    assert isinstance(error, TransientError)
    assert "read VM v" in str(error) and "Bad Gateway" in str(error)


@pytest.mark.parametrize(
    ("raised", "expected", "code"),
    [
        (ServiceRequestError("no route to host"), TransientError, "NoAnswer"),
        (ServiceResponseError("connection reset"), TransientError, "NoAnswer"),
        (IncompleteReadError("7 bytes of 12"), TransientError, "NoAnswer"),
        (ClientAuthenticationError("identity endpoint: 410"), TransientError, "NoToken"),
    ],
)
def test_no_sdk_exception_leaves_the_adapter(
    raised: Exception, expected: type[PlatformError], code: str
) -> None:
    with pytest.raises(expected) as caught, classified("create VM v"):
        raise raised

    assert caught.value.code == code
    assert caught.value.__cause__ is raised


def test_our_own_errors_pass_through_unchanged() -> None:
    with pytest.raises(ConflictError, match="mine"), classified("create VM v"):
        raise ConflictError("mine")


def test_the_time_of_an_answer_is_the_server_s() -> None:
    assert date_of({"Date": "Sun, 01 Mar 2026 05:00:00 GMT"}) == datetime(2026, 3, 1, 5, tzinfo=UTC)
    with pytest.raises(ValueError, match="no Date header"):
        date_of({})


def test_every_bad_day_of_the_simulator_is_a_known_code() -> None:
    """Codes and texts of the failure catalogue, written down independently from public logs and Microsoft's pages."""
    presets = yaml.safe_load(
        Path(__file__).parents[2].joinpath("localdev/azuresim/fault_presets.yaml").read_text()
    )
    unknown = {
        name: preset["code"]
        for name, preset in presets.items()
        if preset.get("code")
        and told_code(preset) not in RULES
        and preset["code"] != "OperationNotAllowed"
        and preset.get("operation") != "identity/token"
    }
    assert unknown == {}


_BUSY = "Conflict of operation, another operation on same entity is already running in workspace w."
_UPDATING = "Cannot create a deployment in endpoint e because it is in Updating provisioning state."


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (409, {"code": "UserError", "message": _BUSY}),
        (409, {"code": "Conflict", "message": _UPDATING}),
        (400, {"code": "BadRequest", "message": _UPDATING}),
    ],
)
def test_an_endpoint_at_work_is_asked_again_after_a_minute(status: int, told: dict[str, Any]) -> None:
    error = error_from_response(status, {}, {"error": told}, "set traffic")

    assert isinstance(error, TransientError) and error.retry_after_s == 60


@pytest.mark.parametrize(
    ("details", "kind", "code"),
    [
        ([{"code": "KubernetesUnaccessible"}], PlatformError, "KubernetesUnaccessible"),
        ([{"code": "NobodyKnows"}, {"code": "PodUnschedulable"}], CapacityError, "PodUnschedulable"),
        ([{"code": "UserError", "details": [{"code": "OutOfQuota"}]}], CapacityError, "OutOfQuota"),
        ([{"code": "NobodyKnows"}, "text"], PlatformError, "BadRequest"),
        (None, PlatformError, "BadRequest"),
    ],
)
def test_what_azure_ml_says_inside_is_what_counts(details: Any, kind: type[PlatformError], code: str) -> None:
    told = {"error": {"code": "BadRequest", "message": "The request is invalid.", "details": details}}
    error = error_from_response(400, {}, told, "create deployment")

    assert (type(error), error.code) == (kind, code)


def test_a_refusal_that_says_enough_keeps_its_own_code() -> None:
    told = {"error": {"code": "AuthorizationFailed", "message": "", "details": [{"code": "OutOfQuota"}]}}

    assert error_from_response(403, {}, told, "create deployment").code == "AuthorizationFailed"
