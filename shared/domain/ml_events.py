"""What Azure ML and Blob Storage say through Event Grid, as one value, whatever schema and casing it came in.

Pure, and never raises: what is not understood is a value too. Learn's samples spell data fields in PascalCase, the
published schemas in camelCase, and real deliveries have had both: keys are compared without case. Two deliveries of one
fact have the same key: it is made of what happened, never of the delivery's id or time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from shared.domain.wire import Wire

BREACH_TAG = "azureml_modelmonitor_threshold_breached"
CAUSED_BY = "causedby"
OWN = "muster"
MAX_TAG_BYTES = 4096  # of all tags together: an event crosses the durable boundary, which takes 16 KB
_LONGEST = 300  # characters of any one text, for the same reason


class EventKind(StrEnum):
    MODEL_REGISTERED = "ModelRegistered"
    MODEL_DEPLOYED = "ModelDeployed"
    RUN_COMPLETED = "RunCompleted"
    RUN_STATUS_CHANGED = "RunStatusChanged"
    DRIFT = "Drift"
    BLOB_CREATED = "BlobCreated"


class MlEvent(Wire):
    """One fact. `source` is the ARM id of the workspace or storage account it is of, in small letters; `muster` of ours.

    `subject` is what it is about: runs/RUN, models/NAME, services/NAME, CONTAINER/BLOB. `version` tells facts about one
    subject apart: a model's version, a run's status, a blob's etag, a drift window. A drift's `monitor` is the first
    word of the breach's text, which names monitor and signal, or the older event's dataDriftName. `threshold` is what the
    monitor itself calls drift, where it says so.
    """

    kind: EventKind
    source: str
    subject: str
    run: str = ""
    run_status: str = ""  # as the event claims; what it is in truth is asked of Azure ML
    version: str = ""
    experiment: str = ""
    monitor: str = ""
    message: str = ""
    coefficient: float | None = None
    threshold: float | None = Field(default=None, exclude_if=lambda threshold: threshold is None)
    tags: dict[str, str] = {}
    caused_by: str = ""
    occurred: datetime
    event_id: str = ""

    @property
    def key(self) -> str:
        """32 hexadecimal digits, the same for the same fact."""
        return _digest(self.source, self.kind, self.subject, self.version or self.run)

    @property
    def is_own(self) -> bool:
        """Whether something that this app did brought it about."""
        return self.caused_by.casefold().startswith(OWN)


class Ignored(Wire):
    """What came and is no fact that we know. `key` is that of the delivery."""

    type: str
    reason: str
    source: str = ""
    event_id: str = ""
    occurred: datetime | None = None

    @property
    def key(self) -> str:
        return _digest(self.source, self.type, self.event_id, self.reason)


def is_event_key(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def normalise_all(body: object) -> tuple[MlEvent | Ignored, ...]:
    """Each event of a delivery, single or batched, in its order."""
    return tuple(normalise(each) for each in (body if isinstance(body, list | tuple) else [body]))


def normalise(raw: object) -> MlEvent | Ignored:
    """One event of the Event Grid schema or of CloudEvents 1.0."""
    if not isinstance(raw, Mapping):
        return Ignored(type=type(raw).__name__, reason="is no event")
    event = _folded(raw)
    type_ = _text(event, "eventType") or _text(event, "type")
    source = (_text(event, "topic") or _text(event, "source")).rstrip("/").lower()
    occurred = _moment(event.get("eventtime") or event.get("time"))
    refused = Ignored(type=type_, reason="", source=source, event_id=_text(event, "id"), occurred=occurred)
    read = _READERS.get(type_.casefold())
    if read is None:
        return refused.model_copy(update={"reason": "unknown type"})
    if occurred is None or not source:
        return refused.model_copy(
            update={"reason": "says neither when nor where" if not source else "has no time"}
        )
    found = read(_data(event), _text(event, "subject"))
    if not found.get("subject"):
        return refused.model_copy(update={"reason": "does not say what it is about"})
    return MlEvent(source=source, occurred=occurred, event_id=refused.event_id, **found)


def _run(data: Mapping[str, Any], subject: str) -> str:
    """The run's id, from the data or else from the subject: experiments/NAME/runs/ID, datadrift/ID/run/ID."""
    parts = subject.strip("/").split("/")
    named = parts[-1] if len(parts) >= 2 and parts[-2].casefold() in ("runs", "run") else ""
    return _text(data, "runId") or named


def _model_registered(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    name, _, version = subject.rpartition("/")[2].partition(":")
    name, version = _text(data, "modelName") or name, _text(data, "modelVersion") or version
    about = f"models/{name}" if name and version else ""
    return {
        "kind": EventKind.MODEL_REGISTERED, "subject": about, "version": version,
        **_labels(data, "modelTags", "modelProperties"),
    }  # fmt: skip


def _model_deployed(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    service = _text(data, "serviceName") or subject.rpartition("/")[2]
    models = data.get("modelids")
    ids = (
        models if isinstance(models, str) else ",".join(map(str, models)) if isinstance(models, list) else ""
    )
    return {
        "kind": EventKind.MODEL_DEPLOYED, "subject": f"services/{service}" if service else "",
        "version": ids[:_LONGEST], **_labels(data, "serviceTags", "serviceProperties"),
    }  # fmt: skip


def _run_completed(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    return {"kind": EventKind.RUN_COMPLETED, **_about_run(data, subject)}


def _run_status_changed(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    about = _about_run(data, subject)
    status = _text(data, "runStatus")
    breach = _folded(about["tags"]).get(BREACH_TAG, "")
    if breach:
        # The status is no part of the fact: one monitor run breaches once, whatever becomes of it.
        drift = {"kind": EventKind.DRIFT, "monitor": breach.split()[0], "message": breach}
        return {**about, **drift, "run_status": status or "Unknown"}
    version = f"{about['run']}:{status}"
    return {"kind": EventKind.RUN_STATUS_CHANGED, **about, "run_status": status, "version": version}


def _about_run(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    run = _run(data, subject)
    return {
        "subject": f"runs/{run}" if run else "", "run": run, "experiment": _text(data, "experimentName"),
        **_labels(data, "runTags", "runProperties"),
    }  # fmt: skip


def _dataset_drift(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    """The older event, of a dataset monitor. Without a run, the monitor and its window say which fact it is."""
    run, monitor = _run(data, subject), _text(data, "dataDriftName") or _text(data, "dataDriftId")
    window = f"{_text(data, 'startTime')}/{_text(data, 'endTime')}"
    return {
        "kind": EventKind.DRIFT, "subject": f"runs/{run}" if run else f"monitors/{monitor}" if monitor else "",
        "run": run, "version": "" if run else window, "monitor": monitor,
        "coefficient": _number(data.get("driftcoefficient")), **_labels(data, "runTags", "runProperties"),
    }  # fmt: skip


def _blob_created(data: Mapping[str, Any], subject: str) -> dict[str, Any]:
    marker = "/blobServices/default/containers/"
    container, _, blob = subject.removeprefix(marker).partition("/blobs/")
    about = f"{container}/{blob}" if subject.startswith(marker) and container and blob else ""
    return {
        "kind": EventKind.BLOB_CREATED, "subject": about[:1100],
        "version": _text(data, "eTag").strip('"') or _text(data, "sequencer"),
    }  # fmt: skip


_ML = "microsoft.machinelearningservices."
_READERS: Mapping[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
    f"{_ML}modelregistered": _model_registered,
    f"{_ML}modeldeployed": _model_deployed,
    f"{_ML}runcompleted": _run_completed,
    f"{_ML}runstatuschanged": _run_status_changed,
    f"{_ML}datasetdriftdetected": _dataset_drift,
    "microsoft.storage.blobcreated": _blob_created,
}


def _data(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event's data with folded keys: as it is, as JSON in a text, or as bytes in CloudEvents' data_base64."""
    data = event.get("data")
    try:
        if data is None and isinstance(event.get("data_base64"), str):
            data = base64.b64decode(event["data_base64"], validate=True).decode()
        if isinstance(data, str):
            data = json.loads(data)
    except (binascii.Error, ValueError, RecursionError):
        data = None
    return _folded(data) if isinstance(data, Mapping) else {}


def _labels(data: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    """Tags, and who caused it, which may stand among tags or properties."""
    tags, *others = (_texts(data.get(field.casefold())) for field in fields)
    marks = [_folded(each).get(CAUSED_BY, "") for each in (tags, *others)]
    return {"tags": _bounded(tags), "caused_by": next((mark for mark in marks if mark), "")}


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(k)[:_LONGEST]: _plain(v) for k, v in value.items() if _plain(v)}


def _bounded(tags: Mapping[str, str]) -> dict[str, str]:
    """As many as may cross, the breach and the cause first."""
    kept: dict[str, str] = {}
    left = MAX_TAG_BYTES
    first = (BREACH_TAG, CAUSED_BY)
    for name, value in sorted(tags.items(), key=lambda tag: (tag[0].casefold() not in first, tag[0])):
        left -= len(json.dumps([name, value]))
        if left >= 0:
            kept[name] = value
    return kept


def _folded(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Keys in small letters; of two that differ in case alone, the first that holds something."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        found[str(key).casefold()] = found.get(str(key).casefold()) or value
    return found


def _text(folded: Mapping[str, Any], name: str) -> str:
    return _plain(folded.get(name.casefold()))


def _plain(value: object) -> str:
    """A text or a number as text without control characters; anything else is nothing."""
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    return "".join(c for c in str(value)[:_LONGEST] if c.isprintable()).strip()


def _number(value: object) -> float | None:
    try:
        number = float(_plain(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _moment(value: object) -> datetime | None:
    """In UTC; a time without a zone is taken for UTC, as Event Grid's are."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(_plain(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode(errors="replace")).hexdigest()[:32]


def is_about(event: MlEvent, monitor: str) -> int:
    """How well a drift fits the name of a monitor: 0 not at all; the longer the part of it that fits, the better.

    A breach names monitor and signal in one word: `churn_mon_data_drift` is of monitor `churn_mon`.
    """
    wanted = monitor.casefold()
    for name in (event.monitor.casefold(), event.experiment.casefold()):
        if name == wanted:
            return len(wanted) + 1
        if name.startswith(wanted) and name[len(wanted)] in "_-. ":
            return len(wanted)
    return 0


def listeners(event: MlEvent, monitors: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The workloads that a drift is for, of (workload, its monitor): those whose monitor's name fits it best."""
    fits = {workload: is_about(event, monitor) for workload, monitor in monitors}
    best = max(fits.values(), default=0)
    return tuple(sorted(workload for workload, fit in fits.items() if fit and fit == best))
