"""A golden file: the histories of one night, compressed; each is a message with its length before it."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

from durabletask.internal import orchestrator_service_pb2 as pb

from tests.crash.histories import History

GOLDEN = Path(__file__).parent / "golden"
SUFFIX = ".histories.xz"
_LENGTH = 4


def write(path: Path, histories: Iterable[History]) -> None:
    messages = [
        pb.OrchestratorRequest(instanceId=h.instance, pastEvents=h.events).SerializeToString(
            deterministic=True
        )
        for h in histories
    ]
    path.write_bytes(lzma.compress(b"".join(len(m).to_bytes(_LENGTH) + m for m in messages)))


def read(path: Path) -> list[History]:
    return [History(r.instanceId, tuple(r.pastEvents)) for r in _requests(lzma.decompress(path.read_bytes()))]


def _requests(data: bytes) -> Iterator[pb.OrchestratorRequest]:
    at = 0
    while at < len(data):
        end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH])
        yield pb.OrchestratorRequest.FromString(data[at + _LENGTH : end])
        at = end
