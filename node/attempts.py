"""The crash counter of a shard, kept outside the process: who was being scored when everything died.

runs/<run>/attempts/<shard>.json. A shard without trouble costs one read and one write. Once it was started and not
finished, every batch is written down before it is touched, so an input that takes the whole machine with it is found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.job import ScoreJob, Shard
from node.storage import NotThere, Store


@dataclass(frozen=True)
class Strike:
    count: int
    reason: str


class Ledger:
    def __init__(self, store: Store, job: ScoreJob, shard: Shard) -> None:
        self._store, self._container = store, job.state_container
        self._blob = job.state_blob("attempts", shard.id)
        self.starts = 0
        self.unexplained = 0  # deaths with no input in flight
        self._in_flight: list[int] = []
        self._strikes: dict[int, Strike] = {}
        self._suspects: set[int] = set()
        self._load(len(shard.items))

    @property
    def careful(self) -> bool:
        return self.starts > 1

    def strike(self, index: int) -> Strike:
        return self._strikes.get(index, Strike(0, ""))

    def is_suspect(self, index: int) -> bool:
        """Whether this input was in a batch that died, so that it must be scored alone."""
        return index in self._suspects

    def start(self) -> None:
        """Note that the shard is being scored; what was in flight when the last try ended is held against it."""
        if self._in_flight:
            self._blame(self._in_flight, "the machine or the agent died while it was scored")
        self.starts += 1
        self.save()

    def mark(self, indices: Sequence[int]) -> None:
        if self.careful:
            self._in_flight = list(indices)
            self.save()

    def died(self, indices: Sequence[int], reason: str) -> None:
        """A worker died at these inputs (none: it was doing something else)."""
        if indices:
            self._blame(indices, reason)
        else:
            self.unexplained += 1
        self.save()

    def excuse(self) -> None:
        """We were told to stop: nobody is to blame, and this start does not count."""
        self._in_flight = []
        self.starts = max(0, self.starts - 1)
        self.save()

    def save(self) -> None:
        document = {
            "schema": "muster.attempts/1",
            "starts": self.starts,
            "unexplained": self.unexplained,
            "in_flight": self._in_flight,
            "suspects": sorted(self._suspects),
            "strikes": {str(index): [strike.count, strike.reason] for index, strike in self._strikes.items()},
        }
        self._store.replace(self._container, self._blob, json.dumps(document).encode())

    def _blame(self, indices: Iterable[int], reason: str) -> None:
        blamed = list(indices)
        if len(blamed) == 1:  # one of many cannot be blamed: they are tried one by one next time
            self._strikes[blamed[0]] = Strike(self.strike(blamed[0]).count + 1, reason)
        self._suspects.update(blamed)
        self._in_flight = []

    def _load(self, items: int) -> None:
        try:
            document = json.loads(self._store.read(self._container, self._blob, max_bytes=16 * 1024 * 1024))
        except NotThere:
            return
        self.starts, self.unexplained = int(document["starts"]), int(document["unexplained"])
        self._in_flight = [index for index in document["in_flight"] if index < items]
        self._suspects = set(document["suspects"])
        self._strikes = {int(index): Strike(*strike) for index, strike in document["strikes"].items()}
