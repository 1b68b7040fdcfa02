"""The points of a run, and what they are called: the same in every run that comes to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import requests
from durabletask.internal import orchestrator_service_pb2 as pb

from localdev.azuresim import estate
from tests.crash.cloud import IDENTITY
from tests.crash.strands import Strand

_RANDOM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Point:
    number: int
    kind: str  # "turn", "activity", "trigger" or "agent"
    label: str
    at: float


@dataclass
class Work:
    """An activity's strand: what it answers."""

    item: pb.WorkItem


def kind_of(strand: Strand) -> str:
    return strand.name.partition(" ")[0]


def next_minute(moment: float) -> float:
    return (moment // 60 + 1) * 60


def label_of(request: requests.PreparedRequest) -> str | None:
    """What a request is called in a point's label; None for those that are no step of the work."""
    url = urlsplit(str(request.url))
    if url.hostname == IDENTITY:
        return None
    path = unquote(url.path).replace(f"/subscriptions/{estate.SUBSCRIPTION}", "").replace("/providers", "")
    return f"{request.method} {_RANDOM.sub('*', path)}"
