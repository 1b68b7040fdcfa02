"""Starting, asking about and steering instances and entities. The gRPC surface and the host's HTTP API both end here."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Literal

import durabletask.internal.orchestrator_service_pb2 as pb

from . import actions, instances, rewind, turns
from .errors import InstanceNotFound, InstanceState, InvalidMessage
from .instances import COLUMNS, FINAL, Instance, Kind, Status
from .messages import event, text, to_microseconds
from .store import Store, Transaction

Replaceable = Literal["NonRunning", "Never"]
MAX_PAGE = 1000


class InstanceManagement:
    """What a client may do with orchestration instances. Everything is stored when a method returns."""

    store: Store
    replaceable: Replaceable
    terminate_recursively: bool

    def __init__(self) -> None:
        self._waiters: dict[str, list[threading.Event]] = {}

    def start(
        self,
        name: str,
        *,
        instance_id: str | None = None,
        input: str | None = None,
        version: str | None = None,
        start_at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        replaceable: Collection[int] | None = None,
        trace: Any = None,
    ) -> str:
        """Start an orchestration, now or when the hub's clock shows `start_at`; returns its id. `input` is JSON.

        An id that is in use may be reused if its instance has one of the `replaceable` statuses; without them the
        hub's own rule holds: "NonRunning" (as in Azure) lets any finished one be replaced, "Never" none.
        Raises InstanceExists.
        """
        chosen = instance_id or uuid.uuid4().hex
        if replaceable is None:
            allowed = FINAL if self.replaceable == "NonRunning" else frozenset[Status]()
        else:
            allowed = frozenset(Status(status) for status in replaceable)
        with self.store.transaction() as tx:
            instances.create(
                tx,
                chosen,
                name,
                input=input,
                version=version,
                start_at=to_microseconds(start_at) if start_at else None,
                tags=tags,
                trace=trace,
                replaceable=allowed,
            )
        return chosen

    def get_instance(self, instance_id: str, *, payloads: bool = True) -> Instance | None:
        with self.store.reading() as sql:
            return instances.find(sql, instance_id, payloads=payloads)

    def query(
        self,
        *,
        statuses: Collection[int] = (),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        prefix: str | None = None,
        page_size: int = 100,
        token: str | None = None,
        payloads: bool = False,
    ) -> tuple[list[Instance], str | None]:
        """One page of instances in the order they were created, and the token of the next page if there is one."""
        where, values = _conditions(statuses, created_from, created_to)
        if prefix:
            where.append("substr(id, 1, ?) = ?")
            values += [len(prefix), prefix]
        if token:
            if not token.isdigit():
                raise InvalidMessage(f"{token!r} is not a continuation token of this hub")
            where.append("key > ?")
            values.append(int(token))
        size = min(page_size, MAX_PAGE) if page_size > 0 else MAX_PAGE
        columns = f"{COLUMNS}, input, output" if payloads else COLUMNS
        with self.store.reading() as sql:
            rows = sql.execute(
                f"SELECT {columns} FROM instance WHERE {' AND '.join(where)} ORDER BY key LIMIT ?",
                (*values, size + 1),
            ).fetchall()
        page = [instances.from_row(row) for row in rows[:size]]
        return page, str(page[-1].key) if len(rows) > size else None

    def list_finished(
        self,
        *,
        statuses: Collection[int] = (),
        completed_from: datetime | None = None,
        completed_to: datetime | None = None,
        page_size: int = 100,
        token: str | None = None,
    ) -> tuple[list[str], str | None]:
        """One page of ids of finished instances in the order they finished, and the next page's token."""
        where, values = _conditions(statuses, completed_from, completed_to, column="completed")
        where.append("completed IS NOT NULL")
        if token:
            moment, _, last = token.partition("|")
            if not moment.isdigit():
                raise InvalidMessage(f"{token!r} is not a continuation token of this hub")
            where.append("(completed, id) > (?, ?)")
            values += [int(moment), last]
        size = min(page_size, MAX_PAGE) if page_size > 0 else 100
        with self.store.reading() as sql:
            rows = sql.execute(
                f"SELECT completed, id FROM instance WHERE {' AND '.join(where)} ORDER BY completed, id LIMIT ?",
                (*values, size + 1),
            ).fetchall()
        page = rows[:size]
        return [row[1] for row in page], f"{page[-1][0]}|{page[-1][1]}" if len(rows) > size else None

    def wait_for(
        self,
        instance_id: str,
        *,
        finished: bool = True,
        timeout_s: float | None = None,
        wake: threading.Event | None = None,
        still_wanted: Callable[[], bool] = lambda: True,
    ) -> Instance | None:
        """Wait until an instance is finished (or has started); its state then, or None if there is no such id.

        Raises TimeoutError. A caller who may go away sets `wake` then, and `still_wanted` says so.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wake = wake or threading.Event()
        with self.store.lock:
            self._waiters.setdefault(instance_id, []).append(wake)
        try:
            while True:
                wake.clear()
                instance = self.get_instance(instance_id)
                if instance is None or not still_wanted():
                    return instance
                if instance.status.is_final if finished else instance.status != Status.PENDING:
                    return instance
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(
                        f"{instance_id!r} is still {instance.status.name.lower()} after {timeout_s} s"
                    )
                wake.wait(left)
        finally:
            with self.store.lock:
                self._waiters[instance_id].remove(wake)
                if not self._waiters[instance_id]:
                    del self._waiters[instance_id]

    def history(self, instance_id: str) -> list[Any]:
        """The pb.HistoryEvent list of the current generation. Raises InstanceNotFound."""
        with self.store.reading() as sql:
            instance = self._require(sql, instance_id)
            return [pb.HistoryEvent.FromString(blob) for blob in turns.read_history(sql, instance.key)]

    def raise_event(self, instance_id: str, name: str, input: str | None = None) -> None:
        """Deliver an event, awaited already or not. Raises InstanceNotFound, or InstanceState if it is finished."""
        with self.store.transaction() as tx:
            instance = self._require_running(tx, instance_id)
            raised = pb.EventRaisedEvent(name=name, input=text(input))
            instances.post(tx, instance.key, Kind.EVENT, event(tx.now, eventRaised=raised))

    def terminate(self, instance_id: str, output: str | None = None, *, recursive: bool = True) -> None:
        """End an instance, and with `recursive` (if the hub does that) its sub-orchestrations; no cleanup code runs.

        Nothing happens if it is finished already. Raises InstanceNotFound.
        """
        with self.store.transaction() as tx:
            instance = self._require(tx.sql, instance_id)
            actions.terminate(tx, instance, output, recursive=recursive and self.terminate_recursively)

    def suspend(self, instance_id: str, reason: str | None = None) -> None:
        """Pause an instance: outcomes and events wait until it is resumed. Safe to repeat."""
        self._set_suspending(instance_id, True, reason)

    def resume(self, instance_id: str, reason: str | None = None) -> None:
        self._set_suspending(instance_id, False, reason)

    def _set_suspending(self, instance_id: str, suspending: bool, reason: str | None) -> None:
        with self.store.transaction() as tx:
            instance = self._require_running(tx, instance_id)
            if instance.suspending == suspending:
                return  # the SDK would suspend again after the resume if it were told twice
            tx.sql.execute("UPDATE instance SET suspending = ? WHERE key = ?", (suspending, instance.key))
            if suspending:
                message = event(tx.now, executionSuspended=pb.ExecutionSuspendedEvent(input=text(reason)))
                instances.post(tx, instance.key, Kind.SUSPEND, message)
            else:
                message = event(tx.now, executionResumed=pb.ExecutionResumedEvent(input=text(reason)))
                instances.post(tx, instance.key, Kind.RELEASE, message)

    def rewind(self, instance_id: str, reason: str | None = None) -> None:
        """Let a failed instance, and what failed below it, go on from its last good step. Raises InstanceState."""
        with self.store.transaction() as tx:
            rewind.begin(tx, self._require(tx.sql, instance_id), reason)

    def restart(self, instance_id: str, *, new_id: bool = False) -> str:
        """Run a finished instance again with the same input; returns the id. Raises InstanceState if it still runs."""
        with self.store.transaction() as tx:
            old = instances.find(tx.sql, instance_id, payloads=True)
            if old is None:
                raise InstanceNotFound(f"no orchestration instance {instance_id!r}")
            if not old.status.is_final:
                raise InstanceState(
                    f"{instance_id!r} is {old.status.name.lower()}: only a finished instance is restarted"
                )
            chosen = uuid.uuid4().hex if new_id else instance_id
            instances.create(tx, chosen, old.name, input=old.input, version=old.version, tags=old.tags)
        return chosen

    def purge(self, instance_id: str, *, recursive: bool = True) -> int:
        """Delete a finished instance (with its sub-orchestrations) or an entity; returns how many were deleted."""
        with self.store.transaction() as tx:
            if instance_id.startswith("@"):
                return tx.sql.execute(
                    "DELETE FROM entity WHERE id = ? AND owner IS NULL", (instance_id,)
                ).rowcount
            instance = instances.find(tx.sql, instance_id)
            return _purge(tx, instance, recursive) if instance else 0

    def purge_where(
        self,
        *,
        statuses: Collection[int] = (),
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        recursive: bool = False,
    ) -> int:
        """Delete all finished instances that match; returns how many."""
        where, values = _conditions(statuses, created_from, created_to)
        where.append("completed IS NOT NULL")
        with self.store.transaction() as tx:
            rows = tx.sql.execute(
                f"SELECT {COLUMNS} FROM instance WHERE {' AND '.join(where)}", values
            ).fetchall()
            return sum(_purge(tx, instances.from_row(row), recursive) for row in rows)

    def _committed(self, tx: Transaction) -> None:
        for instance_id in tx.changed:
            for wake in self._waiters.get(instance_id, ()):
                wake.set()

    def _wake_all_waiters(self) -> None:
        with self.store.lock:
            for waiters in self._waiters.values():
                for wake in waiters:
                    wake.set()

    def _require(self, sql: Any, instance_id: str) -> Instance:
        instance = instances.find(sql, instance_id)
        if instance is None:
            raise InstanceNotFound(f"no orchestration instance {instance_id!r}")
        return instance

    def _require_running(self, tx: Transaction, instance_id: str) -> Instance:
        instance = self._require(tx.sql, instance_id)
        if instance.status.is_final:
            raise InstanceState(f"{instance_id!r} is {instance.status.name.lower()} already")
        return instance


def _purge(tx: Transaction, instance: Instance, recursive: bool) -> int:
    if not instance.status.is_final or not instances.load(tx.sql, instance.key):
        return 0
    below = instances.children(tx.sql, instance.key) if recursive else []
    instances.delete(tx, instance.key)
    return 1 + sum(_purge(tx, child, recursive) for child in below)


def _conditions(
    statuses: Collection[int], after: datetime | None, before: datetime | None, *, column: str = "created"
) -> tuple[list[str], list[Any]]:
    where, values = ["1"], list[Any]()
    if statuses:
        where.append(f"status IN ({','.join('?' * len(statuses))})")
        values += [int(status) for status in statuses]
    if after is not None:
        where.append(f"{column} >= ?")
        values.append(to_microseconds(after))
    if before is not None:
        where.append(f"{column} < ?")
        values.append(to_microseconds(before))
    return where, values
