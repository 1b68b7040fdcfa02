"""Ready work, in memory: derived from the file when it is opened, and from each transaction after it is committed."""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .instances import FINAL
from .store import ActivityRef, Transaction

_DEBOUNCE_TURNS = 3.0
_DEBOUNCE_AT_MOST_S = 2.0


@dataclass(slots=True)
class Queues:
    """What could be handed out now. Turns of one instance, and batches of one entity, never overlap.

    A turn replays the whole history, so while other activities of an instance are still out, its next turn waits up
    to three times what its last turn took: completions pile up, and a fan-out costs a few turns instead of one each.
    """

    turns: deque[int] = field(default_factory=deque)
    activities: deque[ActivityRef] = field(default_factory=deque)
    entities: deque[str] = field(default_factory=deque)
    _queued_turns: set[int] = field(default_factory=set)
    _queued_entities: set[str] = field(default_factory=set)
    _busy_turns: set[int] = field(default_factory=set)
    _busy_entities: set[str] = field(default_factory=set)
    _delayed: dict[int, float] = field(default_factory=dict)
    _delays: list[tuple[float, int]] = field(default_factory=list)
    _outstanding: Counter[int] = field(default_factory=Counter)
    _turn_took: dict[int, float] = field(default_factory=dict)

    def load(self, sql: sqlite3.Connection) -> None:
        """Queue all that the file says is unfinished; whatever was handed out by an earlier process is visible again."""
        final = ",".join(str(int(status)) for status in FINAL)
        waiting = sql.execute(
            "SELECT DISTINCT i.key FROM inbox JOIN instance i ON i.key = inbox.instance"
            " LEFT JOIN suspect s ON s.subject = i.key"
            f" WHERE i.status NOT IN ({final}) AND i.start_at IS NULL ORDER BY coalesce(s.deaths, 0), i.key"
        )
        # Least suspected first: were it always the oldest, every early death would be counted against the same one.
        for (key,) in waiting.fetchall():
            self._queue_turn(key)
        activities = sql.execute(
            "SELECT id, instance, name, version, deliveries FROM activity ORDER BY deliveries, id"
        )
        for row in activities.fetchall():
            self.activities.append(ActivityRef(*row))
            self._outstanding[row[1]] += 1
        for (entity,) in sql.execute("SELECT DISTINCT entity FROM operation WHERE due IS NULL").fetchall():
            self.add_entity(entity)

    def apply(self, tx: Transaction) -> bool:
        """Take over what a committed transaction made ready; True if there is anything to hand out."""
        for ref in tx.activities:
            self.activities.append(ref)
            self._outstanding[ref.instance] += 1
        for key in tx.answered:
            self._outstanding[key] -= 1
            if self._outstanding[key] <= 0:
                del self._outstanding[key]
        for key in tx.finished:
            self._turn_took.pop(key, None)
            self._outstanding.pop(key, None)
            self._delayed.pop(key, None)
        for key, urgent in tx.ready.items():
            self.add_turn(key, urgent=urgent)
        for entity in tx.entities:
            self.add_entity(entity)
        return bool(tx.activities or tx.ready or tx.entities)

    def add_turn(self, key: int, *, urgent: bool) -> None:
        if key in self._busy_turns or key in self._queued_turns:
            return
        delay = 0.0
        if not urgent and self._outstanding.get(key):
            delay = min(_DEBOUNCE_TURNS * self._turn_took.get(key, 0.0), _DEBOUNCE_AT_MOST_S)
        if not delay:
            self._delayed.pop(key, None)
            self._queue_turn(key)
        elif key not in self._delayed:
            due = time.monotonic() + delay
            self._delayed[key] = due
            heapq.heappush(self._delays, (due, key))

    def add_entity(self, entity: str) -> None:
        if entity not in self._busy_entities and entity not in self._queued_entities:
            self._queued_entities.add(entity)
            self.entities.append(entity)

    def release_delayed(self) -> float | None:
        """Queue the turns whose delay is over; returns seconds until the next one, None if none is delayed."""
        while self._delays:
            due, key = self._delays[0]
            left = due - time.monotonic()
            if self._delayed.get(key) != due:
                heapq.heappop(self._delays)
            elif left > 0:
                return left
            else:
                heapq.heappop(self._delays)
                del self._delayed[key]
                self._queue_turn(key)
        return None

    def pop_turn(self, accepts: Callable[[int], bool] | None) -> int | None:
        """The next instance to run a turn, now busy until `turn_over`."""
        key = _pop(self.turns, accepts)
        if key is not None:
            self._queued_turns.discard(key)
            self._busy_turns.add(key)
        return key

    def turn_over(self, key: int, took: float | None = None) -> None:
        self._busy_turns.discard(key)
        if took is not None:
            self._turn_took[key] = took

    def pop_entity(self, accepts: Callable[[str], bool] | None) -> str | None:
        entity = _pop(self.entities, accepts)
        if entity is not None:
            self._queued_entities.discard(entity)
            self._busy_entities.add(entity)
        return entity

    def batch_over(self, entity: str) -> None:
        self._busy_entities.discard(entity)

    def pop_activity(self, accepts: Callable[[ActivityRef], bool] | None) -> ActivityRef | None:
        return _pop(self.activities, accepts)

    def _queue_turn(self, key: int) -> None:
        self._queued_turns.add(key)
        self.turns.append(key)


def _pop[T](queue: deque[T], accepts: Callable[[T], bool] | None) -> T | None:
    if accepts is None:
        return queue.popleft() if queue else None
    for i, entry in enumerate(queue):
        if accepts(entry):
            del queue[i]
            return entry
    return None
