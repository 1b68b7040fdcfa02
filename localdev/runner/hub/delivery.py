"""Handing work out, and taking answers back: at least once to workers, exactly once into the histories.

A lease is what a worker has in hand. It lives in memory only: after a restart everything unanswered is visible again.
An answer counts if its token is the lease's (turns, entity batches) or if its activity is still unanswered.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError

from . import entities, instances, turns
from .errors import HubError, HubFull, InvalidMessage
from .messages import event, failure, text, value_of
from .queues import Queues
from .store import ActivityRef, Store, Transaction

if TYPE_CHECKING:
    from .session import WorkSession

logger = logging.getLogger(__name__)

Work = turns.Turn | ActivityRef | list[entities.Operation]


@dataclass(slots=True)
class Lease:
    """One item in a worker's hand. `subject` is an instance key, an activity id or an entity id."""

    token: str
    subject: int | str
    work: Work
    session: WorkSession
    since: float


class Delivery:
    """Queues and leases of one open hub."""

    def __init__(self, store: Store, *, max_deliveries: int, visibility_s: float) -> None:
        self.store = store
        self.available = threading.Condition(store.lock)
        self.visibility_s = visibility_s
        self._max_deliveries = max_deliveries
        self._queues = Queues()
        self._histories = turns.Histories()
        self._leases: dict[str, Lease] = {}
        self._activity_leases: dict[int, Lease] = {}
        self._epoch = secrets.token_hex(4)  # tokens of an earlier process are never taken for ours
        self._tokens = 0
        self._looked_away = False  # taking work out made other work ready, of a kind that was looked for before

    def load(self) -> None:
        with self.store.reading() as sql:
            self._queues.load(sql)

    def committed(self, tx: Transaction) -> None:
        if self._queues.apply(tx):
            self.available.notify_all()

    # -- taking work out; the caller holds the store's lock

    def take(self, session: WorkSession) -> Any | None:
        """The next pb.WorkItem for `session`, leased to it, or None."""
        while True:
            self._looked_away = False
            item = (
                (session.wants("turns") and self._take_turn(session))
                or (session.wants("entities") and self._take_batch(session))
                or (session.wants("activities") and self._take_activity(session))
            )
            if item or not self._looked_away:
                return item or None

    def next_delay(self) -> float | None:
        """Seconds until a delayed turn is due."""
        return self._queues.release_delayed()

    def _take_turn(self, session: WorkSession) -> Any | None:
        accepts = session.limits.accepts_orchestration
        wanted = (lambda key: accepts(*self._name_of(key))) if accepts else None
        while (key := self._queues.pop_turn(wanted)) is not None:
            token = self._new_token("o")
            try:
                turn = turns.take(self.store.sql, self._histories, key, self.store.now(), token)
            except DecodeError as error:
                self._queues.turn_over(key)
                self._fail_instance(key, "HistoryUnreadable", f"a stored event cannot be parsed: {error}")
                continue
            if turn is None:
                self._queues.turn_over(key)
                continue
            self._lease(token, key, turn, session)
            return turn.item
        return None

    def _take_batch(self, session: WorkSession) -> Any | None:
        while (entity := self._queues.pop_entity(session.limits.accepts_entity)) is not None:
            operations = entities.waiting(self.store.sql, entity)
            if not operations:
                self._queues.batch_over(entity)
                continue
            token = self._new_token("e")
            self._lease(token, entity, operations, session)
            return pb.WorkItem(
                completionToken=token,
                entityRequest=entities.batch_request(
                    entity, entities.state_of(self.store.sql, entity), operations
                ),
            )
        return None

    def _take_activity(self, session: WorkSession) -> Any | None:
        accepts = session.limits.accepts_activity
        wanted = (lambda ref: accepts(ref.name, ref.version)) if accepts else None
        while ref := self._queues.pop_activity(wanted):
            if ref.deliveries >= self._max_deliveries:
                self._give_up(ref)
                continue
            with self.store.transaction() as tx:
                # Counted before it is handed out, or an activity that kills its worker at once would never be found.
                row = tx.sql.execute(
                    "UPDATE activity SET deliveries = deliveries + 1 WHERE id = ? RETURNING request",
                    (ref.id,),
                ).fetchone()
            if row is None:
                continue
            ref.deliveries += 1
            token = f"a-{ref.id}-{self._new_token('')}"
            self._lease(token, ref.id, ref, session)
            return pb.WorkItem(completionToken=token, activityRequest=pb.ActivityRequest.FromString(row[0]))
        return None

    def _give_up(self, ref: ActivityRef) -> None:
        reason = (
            f"activity {ref.name!r} was delivered {ref.deliveries} times and its worker died each time;"
            " it will not be tried again"
        )
        logger.error("poison activity failed", extra={"activity": ref.name, "instance": ref.instance})
        with self.store.transaction() as tx:
            row = _take_row(tx, ref.id)
            if row:
                details = failure("PoisonActivity", reason, retriable=False)
                failed = pb.TaskFailedEvent(taskScheduledId=row[2], failureDetails=details)
                _answer(tx, row, event(tx.now, taskFailed=failed))
        self._looked_away = True

    # -- answers

    def complete_turn(self, response: Any) -> None:
        """Raises HubFull if it could not be stored; the same answer may then be given again."""
        with self.store.lock:
            lease = self._leases.get(response.completionToken)
            if lease is None or not isinstance(lease.work, turns.Turn):
                logger.info("stale orchestrator answer ignored", extra={"instance": response.instanceId})
                return
            turn = lease.work
            try:
                with self._kept_on_failure(lease), self.store.transaction() as tx:
                    turns.complete(tx, self._histories, turn, response)
            except (InvalidMessage, ValueError, TypeError) as error:
                self._drop(lease)
                self._fail_instance(
                    turn.instance.key, "InvalidMessage", f"the worker's answer was refused: {error}"
                )
                return
            self._drop(lease, answered=True)

    def complete_activity(self, response: Any) -> None:
        """The first answer to an activity counts, whichever delivery it is of."""
        activity_id = _activity_of(response.completionToken)
        with self.store.lock:
            lease = self._activity_leases.get(activity_id)
            with self._kept_on_failure(lease), self.store.transaction() as tx:
                row = _take_row(tx, activity_id)
                if row is None:
                    logger.info("late activity answer ignored", extra={"instance": response.instanceId})
                else:
                    _answer(tx, row, _outcome(tx.now, row[2], response))
            if lease:
                self._drop(lease, answered=True)

    def complete_batch(self, result: Any) -> None:
        with self.store.lock:
            lease = self._leases.get(result.completionToken)
            if lease is None or not isinstance(lease.work, list):
                logger.info("stale entity answer ignored")
                return
            with self._kept_on_failure(lease), self.store.transaction() as tx:
                entities.complete(tx, str(lease.subject), lease.work, result)
            self._drop(lease, answered=True)

    def abandon(self, token: str) -> None:
        """Make an item visible again at once; it does not count as a delivery."""
        with self.store.lock:
            if lease := self._leases.get(token):
                self._uncount([lease])
                self._drop(lease)

    @contextmanager
    def _kept_on_failure(self, lease: Lease | None) -> Iterator[None]:
        """An answer that could not be stored may be repeated; if it is not, the work is given out again later."""
        try:
            yield
        except HubFull:
            self.expire_later([lease] if lease else [])
            raise

    # -- leases

    def release(self, leases: list[Lease], *, died: bool) -> None:
        """Make the unfinished among `leases` visible again. `died`: their worker did not hand them back itself."""
        with self.store.lock:
            held = [lease for lease in leases if lease.token in self._leases]
            if not died:
                self._uncount(held)
            for lease in held:
                self._drop(lease)

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

    def _lease(self, token: str, subject: int | str, work: Work, session: WorkSession) -> None:
        lease = Lease(token, subject, work, session, time.monotonic())
        self._leases[token] = lease
        if isinstance(work, ActivityRef):
            self._activity_leases[work.id] = lease
        session.in_hand[token] = lease

    def _drop(self, lease: Lease, *, answered: bool = False) -> None:
        """End a lease; what it was for is queued again, unless it was answered and nothing is left to do."""
        self._leases.pop(lease.token, None)
        lease.session.in_hand.pop(lease.token, None)
        work = lease.work
        if isinstance(work, turns.Turn):
            key = work.instance.key
            self._queues.turn_over(key, time.monotonic() - lease.since if answered else None)
            self._requeue_turn(key)
        elif isinstance(work, ActivityRef):
            self._activity_leases.pop(work.id, None)
            if not answered:
                self._queues.activities.append(work)
        else:
            self._queues.batch_over(str(lease.subject))
            self._queues.add_entity(str(lease.subject))
        self.available.notify_all()

    def _requeue_turn(self, key: int) -> None:
        left = self.store.sql.execute("SELECT max(kind) FROM inbox WHERE instance = ?", (key,)).fetchone()[0]
        if left is not None:
            self._queues.add_turn(key, urgent=left != instances.Kind.RESULT)

    def _uncount(self, leases: list[Lease]) -> None:
        refs = [lease.work for lease in leases if isinstance(lease.work, ActivityRef)]
        if not refs:
            return
        with self.store.transaction() as tx:
            for ref in refs:
                ref.deliveries -= 1
                tx.sql.execute("UPDATE activity SET deliveries = deliveries - 1 WHERE id = ?", (ref.id,))

    def _fail_instance(self, key: int, kind: str, reason: str) -> None:
        logger.error("instance failed by the hub", extra={"instance": key, "reason": reason})
        with self.store.transaction() as tx:
            turns.fail(tx, key, kind, reason)
        self._looked_away = True

    def _name_of(self, key: int) -> tuple[str, str | None]:
        row = self.store.sql.execute("SELECT name, version FROM instance WHERE key = ?", (key,)).fetchone()
        return (row[0], row[1]) if row else ("", None)

    def _new_token(self, kind: str) -> str:
        self._tokens += 1
        return f"{kind}-{self._epoch}-{self._tokens}"


def _take_row(tx: Transaction, activity_id: int) -> tuple[int, int, int] | None:
    """Remove an activity; returns its (instance, generation, task), or None if it was answered before."""
    row: tuple[int, int, int] | None = tx.sql.execute(
        "DELETE FROM activity WHERE id = ? RETURNING instance, generation, task", (activity_id,)
    ).fetchone()
    if row:
        tx.answered.append(row[0])
    return row


def _answer(tx: Transaction, row: tuple[int, int, int], message: Any) -> None:
    instances.post_result(tx, row[0], row[1], message, urgent=False)


def _outcome(now: int, task: int, response: Any) -> Any:
    if response.HasField("failureDetails"):
        failed = pb.TaskFailedEvent(taskScheduledId=task, failureDetails=response.failureDetails)
        return event(now, taskFailed=failed)
    completed = pb.TaskCompletedEvent(taskScheduledId=task, result=text(value_of(response, "result")))
    return event(now, taskCompleted=completed)


def _activity_of(token: str) -> int:
    kind, _, rest = token.partition("-")
    number = rest.partition("-")[0]
    if kind != "a" or not number.isdigit():
        raise InvalidMessage(f"{token!r} is not the token of an activity")
    return int(number)
