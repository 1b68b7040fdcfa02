"""After which answers Event Grid comes again, and when. Source: learn event-grid/delivery-and-retry.

The documented "small randomization" of the intervals is left out, so that a run can be repeated.
"""

from __future__ import annotations

# Not retried at a webhook: 400, 413, 401, 403. At an Azure resource 401 is: it may be a role that is not there yet.
FINAL_AT_WEBHOOKS = frozenset({400, 401, 403, 413})
FINAL_AT_RESOURCES = frozenset({400, 403, 413})
DELIVERED = frozenset({200, 201, 202, 203, 204})

RETRY_S = (10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600)  # then every 12 hours, up to 24
ANSWER_WINDOW_S = 30
DEAD_LETTER_DELAY_S = 300
DEAD_LETTER_GIVES_UP_S = 4 * 3600
DEAD_LETTER_RETRY_S = 600
_AT_LEAST_S = {408: 120, 503: 30}
_AT_LEAST_AT_RESOURCES_S = {**_AT_LEAST_S, 401: 300, 404: 300}

# `lastDeliveryOutcome` of a dead-lettered event: names of HTTP statuses, and these.
TIMED_OUT, UNREACHABLE = "TimedOut", "Unreachable"
TIMED_OUT_STATUS = 408
_NAMES = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 408: TIMED_OUT,
    413: "RequestEntityTooLarge", 500: "InternalServerError", 503: "ServiceUnavailable",
}  # fmt: skip


def is_final(status: int, *, at_resource: bool) -> bool:
    return status in (FINAL_AT_RESOURCES if at_resource else FINAL_AT_WEBHOOKS)


def delay_s(attempts: int, status: int, *, at_resource: bool) -> float:
    """Until the next attempt, after `attempts` of them the last of which was answered `status` (0: nobody there)."""
    scheduled = RETRY_S[min(attempts, len(RETRY_S)) - 1]
    least = (_AT_LEAST_AT_RESOURCES_S if at_resource else _AT_LEAST_S).get(status, 0)
    return float(max(scheduled, least))


def outcome(status: int) -> str:
    if status in DELIVERED:
        return "Delivered"
    return _NAMES.get(status, f"HttpStatus{status}") if status else UNREACHABLE
