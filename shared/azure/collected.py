"""What deployments answered, as their scoring servers collected it: `node/serving/collector.py` writes the rows.

modeldata/{sub}/{rg}/{workspace}/{service}/{model}/{version}/predictions/{y}/{m}/{d}/data.csv, data-2.csv ...
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping

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


type Mark = Mapping[str, int]  # how long each blob was at a moment: what was collected since lies behind it


def mark(endpoint: str, model: str) -> Mark:
    """How far what was collected of `model` (`name:version`) has come."""
    folder = _folder(endpoint, model)
    return {each.name: each.size for each in _blobs(folder)} if folder else {}


def predictions(endpoint: str, model: str, deployment: str, since: Mark) -> list[object]:
    """What a deployment of `model` (`name:version`) was seen to answer since a mark was taken, each row once; the newest.

    Empty: nothing is collected. No time is asked: rows bear the clock of the machine that served them, which is not ours.
    """
    folder = _folder(endpoint, model)
    if not folder:
        return []
    seen: dict[tuple[str, str], object] = {}
    for request, _, _, served_by, number, *values in _rows(folder, since):
        if served_by == deployment and values:
            seen[request, number] = _value(values[0])
    return list(seen.values())[-MOST_ROWS:]


def _folder(endpoint: str, model: str) -> str:
    name, _, version = model.partition(":")
    scope = settings().ml_workspace_id.strip("/").split("/")
    if len(scope) != 8 or not version:
        return ""
    return "/".join([scope[1], scope[3], scope[7], endpoint, name, version, "predictions", ""])


def _blobs(folder: str) -> list[blob.Found]:
    """In the order in which they were written to last."""
    try:
        return sorted(blob.list_blobs(CONTAINER, folder), key=lambda each: each.last_modified)
    except NotFoundError:
        return []


def _rows(folder: str, since: Mark) -> Iterator[list[str]]:
    """Whole rows behind the mark, from the end of each of the newest blobs, in the order in which they were written."""
    for each in _blobs(folder)[-_NEWEST:]:
        begins = since.get(each.name, 0)
        offset = max(begins, each.size - _TAIL)
        if offset >= each.size:
            continue
        content = blob.read_range(CONTAINER, each.name, offset, each.size - offset, etag="")
        lines = content.decode("utf-8", errors="replace").split("\n")[:-1]  # no half row
        # Blocks are whole rows: a mark lies between two. Else the first line is the header, or the end of a row.
        lines = lines if offset and offset == begins else lines[1:]
        yield from (row for row in csv.reader(io.StringIO("\n".join(lines))) if len(row) > _LEAD)


def _value(text: str) -> object:
    """A number, true or false where it reads as one; else the text."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | bool) else text
