"""Handing work out: turns first, then entity batches, then activities."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import durabletask.internal.orchestrator_service_pb2 as pb
from google.protobuf.message import DecodeError

from . import entities, instances, turns
from .leases import Leases
from .messages import event, failure
from .queues import Queues
from .store import ActivityRef, Store, Transaction
from .suspects import SUSPECT_AFTER, Suspects

if TYPE_CHECKING:
    from .session import WorkSession

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class HandOut:
    """Turns ready work into leased work items. Callers hold the store's lock.

    Whatever goes wrong on the way, a piece of ready work is either handed out or still queued.
    """

    store: Store
    max_deliveries: int
    queues: Queues = field(default_factory=Queues)
    leases: Leases = field(init=False)
    suspects: Suspects = field(init=False)
    histories: turns.Histories = field(default_factory=turns.Histories)
    _made_ready: bool = (
        False  # taking work out made other work ready, perhaps of a kind that was looked for before
    )

    def __post_init__(self) -> None:
        self.leases = Leases(self.store.in_hand)
        self.suspects = Suspects(self.store)

    def take(self, session: WorkSession) -> Any | None:
        """The next pb.WorkItem for `session`, leased to it, or None."""
        with self.store.translated():
            while True:
                self._made_ready = False
                item = (
                    (session.wants("turns") and self._take_turn(session))
                    or (session.wants("entities") and self._take_batch(session))
                    or (session.wants("activities") and self._take_activity(session))
                )
                if item or not self._made_ready:
                    return item or None

    def _take_turn(self, session: WorkSession) -> Any | None:
        while (key := self.queues.pop_turn(self._wanted_turns(session))) is not None:
            turn = None
            deaths = self.suspects.deaths(key)
            try:
                if deaths >= self.max_deliveries:
                    self._give_up_instance(key, deaths)
                else:
                    turn = turns.take(self.store.sql, self.histories, key, self.store.now())
            except DecodeError as error:
                self.fail_instance(key, "HistoryUnreadable", f"a stored event cannot be parsed: {error}")
            except BaseException:
                self.queues.turn_over(key)
                self.queues.add_turn(key, urgent=True)
                raise
            if turn is None:
                self.queues.turn_over(key)
                continue
            turn.item.completionToken = self.leases.add("o", key, turn, session, deaths=deaths).token
            return turn.item
        return None

    def _wanted_turns(self, session: WorkSession) -> Callable[[int], bool] | None:
        accepts = session.limits.accepts_orchestration
        if not accepts and not self.suspects:
            return None
        return lambda key: (
            self.leases.may_take(self.suspects.deaths(key)) and (not accepts or accepts(*self._name_of(key)))
        )

    def _take_batch(self, session: WorkSession) -> Any | None:
        while (entity := self.queues.pop_entity(self._wanted_entities(session))) is not None:
            operations: list[entities.Operation] = []
            refused = False
            deaths = self.suspects.deaths(entity)
            try:
                operations = entities.waiting(self.store.sql, entity)
                if deaths >= SUSPECT_AFTER:
                    del operations[1:]  # one by one, or nobody would know which it is
                if refused := bool(operations) and deaths >= self.max_deliveries:
                    self._refuse_operation(entity, operations.pop(), deaths)
                state = entities.state_of(self.store.sql, entity)
            except DecodeError as error:
                self._drop_unreadable(entity, error)
                refused = True
            except BaseException:
                self.queues.batch_over(entity)
                self.queues.add_entity(entity)
                raise
            if not operations:
                self.queues.batch_over(entity)
                if refused:
                    self.queues.add_entity(entity)  # what is behind it
                continue
            token = self.leases.add("e", entity, operations, session, deaths=deaths).token
            return pb.WorkItem(
                completionToken=token, entityRequest=entities.batch_request(entity, state, operations)
            )
        return None

    def _wanted_entities(self, session: WorkSession) -> Callable[[str], bool] | None:
        accepts = session.limits.accepts_entity
        if not self.suspects:
            return accepts
        return lambda entity: (
            self.leases.may_take(self.suspects.deaths(entity)) and (not accepts or accepts(entity))
        )

    def _take_activity(self, session: WorkSession) -> Any | None:
        while ref := self.queues.pop_activity(self._wanted_activities(session)):
            try:
                if ref.deliveries >= self.max_deliveries:
                    self._give_up(ref)
                    continue
                with self.store.transaction() as tx:
                    # Counted before it goes out, or an activity that kills its worker at once would never be found.
                    row = tx.sql.execute(
                        "UPDATE activity SET deliveries = deliveries + 1 WHERE id = ? RETURNING request",
                        (ref.id,),
                    ).fetchone()
                if row is None:
                    continue  # its instance was purged or replaced
                request = pb.ActivityRequest.FromString(row[0])
            except DecodeError as error:
                self._fail_activity(
                    ref, "ActivityUnreadable", f"the stored request cannot be parsed: {error}"
                )
                continue
            except BaseException:
                self.queues.activities.appendleft(ref)
                raise
            lease = self.leases.add("a", ref.id, ref, session, deaths=ref.deliveries)
            ref.deliveries += 1
            return pb.WorkItem(completionToken=lease.token, activityRequest=request)
        return None

    def _wanted_activities(self, session: WorkSession) -> Callable[[ActivityRef], bool] | None:
        accepts = session.limits.accepts_activity
        if accepts is None:
            return lambda ref: self.leases.may_take(ref.deliveries)
        return lambda ref: self.leases.may_take(ref.deliveries) and accepts(ref.name, ref.version)

    def _give_up(self, ref: ActivityRef) -> None:
        reason = (
            f"activity {ref.name!r} was delivered {ref.deliveries} times and its worker died each time;"
            " it will not be tried again"
        )
        self._fail_activity(ref, "PoisonActivity", reason)

    def _fail_activity(self, ref: ActivityRef, kind: str, reason: str) -> None:
        logger.error("activity failed by the hub", extra={"activity": ref.name, "reason": reason})
        with self.store.transaction() as tx:
            if row := take_activity_row(tx, ref.id):
                failed = pb.TaskFailedEvent(
                    taskScheduledId=row[2], failureDetails=failure(kind, reason, retriable=False)
                )
                instances.post_result(tx, row[0], row[1], event(tx.now, taskFailed=failed))
        self._made_ready = True

    def _give_up_instance(self, key: int, deaths: int) -> None:
        reason = (
            f"the same turn of {self._name_of(key)[0]!r} was handed out {deaths} times and its worker died each time;"
            " it will not be tried again"
        )
        self.fail_instance(key, "PoisonOrchestration", reason)

    def _refuse_operation(self, entity: str, operation: entities.Operation, deaths: int) -> None:
        reason = (
            f"an operation of {entity} was handed out {deaths} times and its worker died each time;"
            " it will not be tried again"
        )
        logger.error("entity operation failed by the hub", extra={"entity": entity, "reason": reason})
        with self.store.transaction() as tx:
            entities.refuse(tx, entity, operation, failure("PoisonOperation", reason, retriable=False))
            self.suspects.survived(tx, entity, more=True)
        self._made_ready = True

    def fail_instance(self, key: int, kind: str, reason: str) -> None:
        """End an instance that cannot go on, and say why in its failure."""
        logger.error("instance failed by the hub", extra={"instance": key, "reason": reason})
        with self.store.transaction() as tx:
            turns.fail(tx, key, kind, reason)
            self.suspects.survived(tx, key)
        self._made_ready = True

    def _drop_unreadable(self, entity: str, error: DecodeError) -> None:
        logger.error("unreadable operation dropped", extra={"entity": entity, "reason": str(error)})
        with self.store.transaction() as tx:
            entities.drop_unreadable(tx, entity)
        self._made_ready = True

    def _name_of(self, key: int) -> tuple[str, str | None]:
        row = self.store.sql.execute("SELECT name, version FROM instance WHERE key = ?", (key,)).fetchone()
        return (row[0], row[1]) if row else ("", None)


def take_activity_row(tx: Transaction, activity_id: int) -> tuple[int, int, int] | None:
    """Remove an activity; returns its (instance, generation, task), or None if it was answered before."""
    row: tuple[int, int, int] | None = tx.sql.execute(
        "DELETE FROM activity WHERE id = ? RETURNING instance, generation, task", (activity_id,)
    ).fetchone()
    if row:
        tx.answered.append(row[0])
    return row
