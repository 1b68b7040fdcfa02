"""Behaviours of Azure Event Grid: subscriptions, handshakes, delivery, retries, dead letters, publishing."""

from __future__ import annotations

from localdev.azuresim.behaviours_core import Row

_RETRY = "learn: event-grid/delivery-and-retry"
_SCHEMA = "learn: event-grid/event-schema"
_CLOUD = "learn: event-grid/cloud-event-schema; CloudEvents 1.0.2"
_FILTER = "learn: event-grid/event-filtering"
_VALIDATION = "learn: event-grid/end-point-validation-event-grid-events-schema"
_DATA_PLANE = "azure-rest-api-specs: eventgrid data-plane 2018-01-01 and its examples"
_SWAGGER = "azure-rest-api-specs: eventgrid resource-manager EventGrid.json 2022-06-15"

EVENTS: tuple[Row, ...] = (
    (
        "services tell of their resources, and each event goes to every subscription of that resource",
        "doc",
        "learn: event-grid/concepts",
        ("step:event_grid.service_event", "step:event_grid.publish"),
    ),
    ("an event is delivered at least once and in no certain order", "doc", _RETRY),
    (
        "failed deliveries come again after 10 s, 30 s, 1, 5, 10, 30 min, 1, 3, 6 h, then every 12 h up to 24 h",
        "doc",
        _RETRY,
        ("step:event_grid.attempt", "time:RETRY_S"),
    ),
    ("answers from 200 to 204 are success, all others failure", "doc", _RETRY, ("step:event_grid.answered",)),
    ("webhooks that answer 400, 401, 403 or 413 are not asked again", "doc", _RETRY),
    ("function apps that answer 400, 403 or 413 are not asked again", "doc", _RETRY),
    (
        "after 408 at least 2 minutes pass, after 503 30 s, after an Azure resource's 401 or 404 5 minutes",
        "doc",
        _RETRY,
        ("time:_AT_LEAST_S", "time:_AT_LEAST_AT_RESOURCES_S"),
    ),
    (
        "an endpoint has 30 s to answer",
        "doc",
        _RETRY,
        ("step:event_grid.window_over", "time:ANSWER_WINDOW_S"),
    ),
    (
        "a process is given this much wall time to answer, whatever the virtual clock leaps",
        "assumed",
        "the simulator's own: loopback is not the Internet",
        ("time:LEAST_WALL_S", "time:_LOOK_S"),
    ),
    ("by default 30 attempts in 1440 minutes; the first limit reached ends it", "doc", _RETRY),
    (
        "an event's lifetime is looked at when its next attempt is due",
        "doc",
        "learn: event-grid/manage-event-delivery",
    ),
    (
        "without a dead-letter destination an event that cannot be delivered is dropped",
        "doc",
        f"{_RETRY}: Dead-letter events",
    ),
    (
        "a dead letter is written five minutes after the last attempt, and dropped after four hours without a container",
        "doc",
        f"{_RETRY}: Dead-letter events",
        ("step:event_grid.dead_letter", "time:DEAD_LETTER_DELAY_S", "time:DEAD_LETTER_GIVES_UP_S"),
    ),
    (
        "how often a dead letter is tried again in those four hours",
        "assumed",
        "",
        ("time:DEAD_LETTER_RETRY_S",),
    ),
    (
        "a dead letter is an array of events with deadLetterReason, deliveryAttempts, lastDeliveryOutcome",
        "doc",
        f"{_RETRY}: Delivery event formats",
    ),
    (
        "events go out one by one, in an array of one; batches never exceed their number and are all or none",
        "doc",
        f"{_RETRY}: Batched event delivery",
    ),
    ("members of a delivered event, and who fills them in", "doc", _SCHEMA),
    (
        "a CloudEvent is delivered in structured mode, alone or as a batch, each by its media type",
        "doc",
        _CLOUD,
    ),
    ("a CloudEvent is never delivered in the Event Grid schema", "doc", _CLOUD),
    (
        "deliveries carry aeg-* headers; the count begins at 0",
        "doc",
        "learn: event-grid/receive-events, azure-functions",
    ),
    ("event data of Azure Machine Learning and Storage, in the casing of either sample", "doc", _DATA_PLANE),
    (
        "filters by type, subject and advanced operators; a missing key passes negative operators",
        "doc",
        _FILTER,
    ),
    (
        "a webhook proves itself by returning the validation code, or by allowing the origin eventgrid.azure.net",
        "doc",
        _VALIDATION,
    ),
    (
        "a subscription request that makes no sense is refused",
        "recorded",
        "public error logs: InvalidRequest",
        ("error:InvalidRequest",),
    ),
    ("members, defaults and limits of an event subscription", "doc", _SWAGGER),
    (
        "a subscription is a long operation that ends when its endpoint has agreed, and fails when it has not",
        "doc",
        "learn: event-grid/troubleshoot-subscription-validation",
        ("step:event_grid.handshake", "step:event_grid.validated", "error:Url validation"),
    ),
    (
        "how long that takes beside the handshake, and how often to look",
        "assumed",
        "",
        ("time:_HANDSHAKE_S",),
    ),
    (
        "a function that is not there is no destination",
        "recorded",
        "public error logs: Endpoint validation",
        ("error:Endpoint validation",),
    ),
    ("a subscription's full URL, with its key, is shown by getFullUrl only", "doc", _SWAGGER),
    ("a topic's host is its name and region; a subscription goes with its topic", "doc", _SWAGGER),
    ("a topic's name is taken once in a region", "doc", _SWAGGER, ("error:ResourceAlreadyExists",)),
    (
        "publishing is refused by 400, 401, 404 and 413, with {error: {code, message, details}}",
        "doc",
        "learn: event-grid/post-to-custom-topic",
        ("error:RequestEntityTooLarge", "error:Unauthorized"),
    ),
    (
        "a principal without the role EventGrid Data Sender may not publish",
        "doc",
        "learn: event-grid/authenticate-with-microsoft-entra-id",
        ("error:Forbidden",),
    ),
    (
        "access keys, signatures made with them, and tokens for eventgrid.azure.net",
        "sdk",
        "azure-eventgrid 4.22",
    ),
    ("CloudEvents go to topics of their schema only, by media type", "sdk", "azure-eventgrid 4.22"),
)
