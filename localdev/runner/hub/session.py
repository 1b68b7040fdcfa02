"""A worker's connection to the hub."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import HubClosed, HubFull, HubUnavailable

if TYPE_CHECKING:
    from .delivery import Delivery
    from .leases import Lease

logger = logging.getLogger(__name__)

_RETRY_S = 1.0  # until a file that is full, or locked by another program, is looked at again

Accepts = Callable[[str, str | None], bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker takes: how many items of a kind at once (0: as many as there are), and which names."""

    turns: int = 0
    activities: int = 0
    entities: int = 0
    accepts_orchestration: Accepts | None = None
    accepts_activity: Accepts | None = None
    accepts_entity: Callable[[str], bool] | None = None


class WorkSession:
    """Hands work items to one worker. Safe to use from several threads.

    What `next` returns belongs to the worker until it completes or abandons it: the hub does not read it meanwhile and
    may reuse the message afterwards. Completing twice, or late, changes nothing.
    """

    def __init__(self, delivery: Delivery, worker: str, limits: Limits | None = None) -> None:
        self.worker = worker
        self.limits = limits or Limits()
        self.in_hand: dict[str, Lease] = {}
        self.closed = False
        self._delivery = delivery

    def next(self, timeout_s: float | None = None) -> Any | None:
        """Wait for a pb.WorkItem (orchestrator, activity or entity); None after `timeout_s`, or once closed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        available = self._delivery.available
        with available:
            while not self.closed:
                delay = self._delivery.next_delay()
                try:
                    if item := self._delivery.take(self):
                        return item
                except (HubFull, HubUnavailable) as error:
                    logger.warning("no work handed out", extra={"reason": str(error)})
                    delay = _RETRY_S
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                available.wait(min((t for t in (left, delay) if t is not None), default=None))
        return None

    def complete_orchestrator(self, response: Any) -> None:
        """pb.OrchestratorResponse. Stored when this returns; raises HubFull if it could not be."""
        self._delivery.complete_turn(response)

    def complete_activity(self, response: Any) -> None:
        """pb.ActivityResponse. Stored when this returns."""
        self._delivery.complete_activity(response)

    def complete_entity(self, result: Any) -> None:
        """pb.EntityBatchResult; its operationInfos may be empty. Stored when this returns."""
        self._delivery.complete_batch(result)

    def abandon(self, item: Any) -> None:
        """Hand an item back unfinished; it is visible at once."""
        self._delivery.abandon(item.completionToken)

    def close(self) -> None:
        """Take no more work; what is unfinished becomes visible at once, and does not count as a failed delivery."""
        self._end(lambda leases: self._delivery.release(leases, died=False))

    def lose(self) -> None:
        """The worker is out of sight. It may still answer; what it does not answer becomes visible in time."""
        self._end(self._delivery.expire_later)

    def _end(self, settle: Callable[[list[Lease]], None]) -> None:
        with self._delivery.available:
            if self.closed:
                return
            self.closed = True
            try:
                settle(list(self.in_hand.values()))
            except HubClosed:
                self.in_hand.clear()  # the file is closed: the next process finds it all visible
            self._delivery.available.notify_all()

    # -- what the delivery may take for this session

    def wants(self, kind: str) -> bool:
        limit: int = getattr(self.limits, kind)
        if limit <= 0:
            return True
        prefix = {"turns": "o", "activities": "a", "entities": "e"}[kind]
        return sum(1 for token in self.in_hand if token[0] == prefix) < limit
