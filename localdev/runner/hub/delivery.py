"""Handing work out, and taking answers back: at least once to workers, exactly once into the histories.

An answer counts if its token is the lease's (turns, entity batches), or if its activity is still unanswered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import durabletask.internal.orchestrator_service_pb2 as pb

from . import entities, instances, turns
from .errors import HubError, HubFull, HubUnavailable, InvalidMessage
from .handout import HandOut, take_activity_row
from .leases import Lease, activity_of
from .messages import event, text, value_of
from .store import ActivityRef, Store, Transaction

if TYPE_CHECKING:
    from .session import WorkSession

logger = logging.getLogger(__name__)


class Delivery:
    """The traffic of one open hub with its workers."""

    def __init__(self, store: Store, *, max_deliveries: int, visibility_s: float) -> None:
        self.store = store
        self.available = threading.Condition(store.lock)
        self.visibility_s = visibility_s
        self._out = HandOut(store, max_deliveries)
        self._queues, self._leases = self._out.queues, self._out.leases

    def load(self) -> None:
        with self.store.lock:
            self._out.suspects.load()
            with self.store.reading() as sql:
                self._queues.load(sql)

    def committed(self, tx: Transaction) -> None:
        if self._queues.apply(tx):
            self.available.notify_all()

    def take(self, session: WorkSession) -> Any | None:
        """The next pb.WorkItem for `session`, leased to it, or None. The caller holds the store's lock."""
        return self._out.take(session)

    def next_delay(self) -> float | None:
        """Queue what was delayed long enough; returns seconds until the next delayed turn is due."""
        return self._queues.release_delayed()

    def complete_turn(self, response: Any) -> None:
        """Raises HubFull or HubLocked if it could not be stored; the same answer may then be given again."""
        with self.store.lock:
            lease = self._leases.get(response.completionToken)
            if lease is None or not isinstance(lease.work, turns.Turn):
                logger.info("stale orchestrator answer ignored", extra={"instance": response.instanceId})
                return
            turn = lease.work
            try:
                with self._kept_on_failure(lease), self.store.transaction() as tx:
                    turns.complete(tx, self._out.histories, turn, response)
                    self._out.suspects.survived(tx, turn.instance.key)
            except (InvalidMessage, ValueError, TypeError) as error:
                self._drop(lease)
                reason = f"the worker's answer was refused: {error}"
                self._out.fail_instance(turn.instance.key, "InvalidMessage", reason)
                return
            self._drop(lease, answered=True)

    def complete_activity(self, response: Any) -> None:
        """The first answer to an activity counts, whichever delivery it is of.

        Raises InvalidMessage, HubFull, HubLocked."""
        activity_id = activity_of(response.completionToken)
        if activity_id is None:
            raise InvalidMessage(f"{response.completionToken!r} is not the token of an activity")
        with self.store.lock:
            lease = self._leases.of_activity(activity_id)
            with self._kept_on_failure(lease), self.store.transaction() as tx:
                row = take_activity_row(tx, activity_id)
                if row is None:
                    logger.info("late activity answer ignored", extra={"instance": response.instanceId})
                else:
                    instances.post_result(
                        tx, row[0], row[1], _outcome(tx.now, row[2], response), urgent=False
                    )
            if lease:
                self._drop(lease, answered=True)

    def complete_batch(self, result: Any) -> None:
        with self.store.lock:
            lease = self._leases.get(result.completionToken)
            if lease is None or not isinstance(lease.work, list):
                logger.info("stale entity answer ignored")
                return
            with self._kept_on_failure(lease), self.store.transaction() as tx:
                entity = str(lease.subject)
                entities.complete(tx, entity, lease.work, result)
                if self._out.suspects.deaths(entity):
                    self._out.suspects.survived(tx, entity, more=bool(entities.waiting(tx.sql, entity)))
            self._drop(lease, answered=True)

    def abandon(self, token: str) -> None:
        """Make an item visible again at once; it does not count as a delivery."""
        with self.store.lock:
            if lease := self._leases.get(token):
                self.release([lease], died=False)

    def release(self, leases: list[Lease], *, died: bool) -> None:
        """Make the unfinished among `leases` visible again. `died`: their worker did not hand them back itself."""
        with self.store.lock:
            held = [lease for lease in leases if self._leases.get(lease.token) is lease]
            if not died:
                self._uncount(held)
            for lease in held:
                self._drop(lease)
            if died:
                self._out.suspects.died(
                    lease.subject for lease in held if not isinstance(lease.work, ActivityRef)
                )

    def expire_later(self, leases: list[Lease]) -> None:
        """Their worker is out of sight: if nothing is heard for `visibility_s`, somebody else gets them."""
        if not leases:
            return
        timer = threading.Timer(self.visibility_s, self._expire, [leases])
        timer.daemon = True
        timer.start()

    def _expire(self, leases: list[Lease]) -> None:
        try:
            self.release(leases, died=True)
        except HubError as error:
            logger.warning("expired work not released", extra={"reason": str(error)})

    @contextmanager
    def _kept_on_failure(self, lease: Lease | None) -> Iterator[None]:
        """An answer that could not be stored may be repeated; if it is not, the work is given out again later."""
        try:
            yield
        except (HubFull, HubUnavailable):
            self.expire_later([lease] if lease else [])
            raise

    def _drop(self, lease: Lease, *, answered: bool = False) -> None:
        """End a lease; what it was for is queued again, unless it was answered and nothing is left to do."""
        self._leases.remove(lease)
        work = lease.work
        if isinstance(work, turns.Turn):
            key = work.instance.key
            self._queues.turn_over(key, time.monotonic() - lease.since if answered else None)
            self._requeue_turn(key)
        elif isinstance(work, ActivityRef):
            if not answered:
                self._queues.activities.append(work)
        else:
            self._queues.batch_over(str(lease.subject))
            self._queues.add_entity(str(lease.subject))
        self.available.notify_all()

    def _requeue_turn(self, key: int) -> None:
        with self.store.reading() as sql:
            left = sql.execute("SELECT max(kind) FROM inbox WHERE instance = ?", (key,)).fetchone()[0]
        if left is not None:
            self._queues.add_turn(key, urgent=left != instances.Kind.RESULT)

    def _uncount(self, leases: list[Lease]) -> None:
        refs = [lease.work for lease in leases if isinstance(lease.work, ActivityRef)]
        if not refs:
            return
        try:
            with self.store.transaction() as tx:
                for ref in refs:
                    tx.sql.execute("UPDATE activity SET deliveries = deliveries - 1 WHERE id = ?", (ref.id,))
        except (HubFull, HubUnavailable) as error:  # it stays counted, and is visible all the same
            logger.warning("work handed back stays counted as a delivery", extra={"reason": str(error)})
            return
        for ref in refs:
            ref.deliveries -= 1


def _outcome(now: int, task: int, response: Any) -> Any:
    if response.HasField("failureDetails"):
        failed = pb.TaskFailedEvent(taskScheduledId=task, failureDetails=response.failureDetails)
        return event(now, taskFailed=failed)
    completed = pb.TaskCompletedEvent(taskScheduledId=task, result=text(value_of(response, "result")))
    return event(now, taskCompleted=completed)
