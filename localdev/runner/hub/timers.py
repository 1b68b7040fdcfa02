"""The one clock thread: fires durable timers, scheduled starts and delayed signals when the hub's clock says so.

It keeps nothing: the next moment is asked of the file each time, so a restart forgets no timer.
"""

from __future__ import annotations

import logging
import threading

import durabletask.internal.orchestrator_service_pb2 as pb

from . import entities, instances
from .errors import HubClosed, HubError
from .messages import event, timestamp
from .store import Store, Transaction

logger = logging.getLogger(__name__)

_BATCH = 500
_RETRY_S = 1.0


class Timers:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._wake = threading.Event()
        self._stopping = False
        self._next: int | None = None
        self._thread = threading.Thread(target=self._run, name="hub-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def committed(self, tx: Transaction) -> None:
        if tx.alarm is not None and (self._next is None or tx.alarm < self._next):
            self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._wake.clear()
                moment = self._next = self._next_moment()
                if moment is None:
                    self._wake.wait()
                elif self._store.clock.wait_until(moment / 1_000_000, self._wake):
                    self._fire()
            except HubClosed:
                return
            except HubError as error:
                logger.warning("timers could not be fired", extra={"reason": str(error)})
                self._wake.wait(_RETRY_S)

    def _next_moment(self) -> int | None:
        with self._store.reading() as sql:
            moments = [
                sql.execute(f"SELECT min({column}) FROM {table} WHERE {column} IS NOT NULL").fetchone()[0]
                for table, column in (("timer", "fire_at"), ("instance", "start_at"), ("operation", "due"))
            ]
        return min((moment for moment in moments if moment is not None), default=None)

    def _fire(self) -> None:
        with self._store.transaction() as tx:
            due = tx.sql.execute(
                "DELETE FROM timer WHERE id IN (SELECT id FROM timer WHERE fire_at <= ? ORDER BY fire_at, id LIMIT ?)"
                " RETURNING fire_at, id, instance, generation, timer",
                (tx.now, _BATCH),
            ).fetchall()
            for fire_at, _, instance, generation, timer in sorted(due):
                fired = pb.TimerFiredEvent(fireAt=timestamp(fire_at), timerId=timer)
                instances.post_result(tx, instance, generation, event(tx.now, timerFired=fired))
            for (key,) in tx.sql.execute(
                "UPDATE instance SET start_at = NULL WHERE start_at <= ? RETURNING key", (tx.now,)
            ).fetchall():
                tx.wake(key, urgent=True)
            for (entity,) in tx.sql.execute(
                "UPDATE operation SET due = NULL WHERE due <= ? RETURNING entity", (tx.now,)
            ).fetchall():
                entities.advance(tx, entity)
