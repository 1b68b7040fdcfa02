"""What deployments answered, as their scoring servers collected it: `node/serving/collector.py` writes the rows.

modeldata/{sub}/{rg}/{workspace}/{service}/{model}/{version}/predictions/{y}/{m}/{d}/data.csv, data-2.csv ...
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from shared.azure import blob
from shared.config import settings
from shared.domain.errors import NotFoundError

CONTAINER = "modeldata"
MOST_ROWS = 5_000
_NEWEST = 2  # blobs: at midnight the day before counts too
_TAIL = 1024 * 1024  # bytes read of each
_LEAD = 5  # request_id, client_request_id, time, deployment, row


def address() -> str:
    """Where deployments are told to collect; "" without a workspace, whose names the folders bear."""
    return f"{settings().storage_account_url.rstrip('/')}/{CONTAINER}" if settings().ml_workspace_id else ""


def predictions(endpoint: str, model: str, deployment: str) -> list[object]:
    """The newest of what a deployment of `model` (`name:version`) answered, each row once. Empty: nothing is collected.

    No time is asked: rows bear the clock of the machine that served them, which is not ours.
    """
    name, _, version = model.partition(":")
    scope = settings().ml_workspace_id.strip("/").split("/")
    if len(scope) != 8 or not version:
        return []
    folder = "/".join([scope[1], scope[3], scope[7], endpoint, name, version, "predictions"])
    seen: dict[tuple[str, str], object] = {}
    for request, _, _, served_by, number, *values in _rows(f"{folder}/"):
        if served_by == deployment and values:
            seen[request, number] = _value(values[0])
    return list(seen.values())[-MOST_ROWS:]


def _rows(folder: str) -> Iterator[list[str]]:
    """Whole rows from the end of each of the newest blobs, in the order in which they were written."""
    try:
        blobs = sorted(blob.list_blobs(CONTAINER, folder), key=lambda each: each.last_modified)[-_NEWEST:]
    except NotFoundError:
        return
    for each in blobs:
        offset = max(0, each.size - _TAIL)
        content = blob.read_range(CONTAINER, each.name, offset, each.size - offset, etag="")
        lines = content.decode("utf-8", errors="replace").split("\n")[1:-1]  # no header, no half rows
        yield from (row for row in csv.reader(io.StringIO("\n".join(lines))) if len(row) > _LEAD)


def _value(text: str) -> object:
    """A number, true or false where it reads as one; else the text."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text
