"""The file: one connection, one lock, one transaction at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from localdev.clock import Clock

from .errors import HubClosed, HubDamaged, HubError, HubFull, HubLocked
from .holder import Holder
from .in_hand import InHand
from .schema import prepare, refuse_unusable

_CHECKED_BYTES = 64_000_000

Synchronous = Literal["NORMAL", "FULL"]


@dataclass(slots=True)
class ActivityRef:
    """An activity waiting to be delivered; its payload stays in the file."""

    id: int
    instance: int
    name: str
    version: str | None
    deliveries: int = 0


@dataclass(slots=True)
class Transaction:
    """One atomic change, and what has to happen in memory once it is on disk."""

    sql: sqlite3.Connection
    now: int
    ready: dict[int, bool] = field(default_factory=dict)  # instance key -> must not be delayed
    activities: list[ActivityRef] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)  # instance keys, one per activity that is no longer out
    finished: list[int] = field(default_factory=list)  # instance keys that run no more turns
    entities: dict[str, None] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)  # instance ids whose status somebody may wait for
    alarm: int | None = None  # the earliest moment the clock thread must know of
    after: list[Callable[[], None]] = field(default_factory=list)

    def wake(self, instance: int, *, urgent: bool) -> None:
        self.ready[instance] = urgent or self.ready.get(instance, False)

    def wake_at(self, moment: int) -> None:
        self.alarm = moment if self.alarm is None else min(self.alarm, moment)


class Store:
    """The hub's file (or memory, for None). Everything that touches it holds `lock`.

    synchronous=NORMAL: killing the process loses nothing that was answered; power loss may lose the last
    transactions, never the file. FULL: power loss loses nothing that was answered, at one fsync per transaction.
    """

    def __init__(self, path: Path | None, clock: Clock, synchronous: Synchronous) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.on_commit: Callable[[Transaction], None] = lambda _: None
        self._path = path
        self._open = True
        self._holder = Holder(path) if path else None
        try:
            self.sql = _connect(path, synchronous)
            self.in_hand = InHand(path and path.with_name(path.name + ".inhand"))
        except BaseException:
            self._release()
            raise

    def now(self) -> int:
        return round(self.clock.time() * 1_000_000)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Commit what the block did, then apply its effects in memory; undo all of it if the block raises.

        Raises HubFull when the disk is full and HubDamaged when the file cannot be read or written.
        """
        with self.lock:
            self.require_open()
            transaction = Transaction(self.sql, self.now())
            with self.translated():
                self.sql.execute("BEGIN IMMEDIATE")
                try:
                    yield transaction
                    self.sql.execute("COMMIT")
                except BaseException:
                    if self.sql.in_transaction:
                        self.sql.execute("ROLLBACK")
                    raise
            for action in transaction.after:
                action()
            self.on_commit(transaction)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self.lock:
            self.require_open()
            with self.translated():
                yield self.sql

    def close(self) -> None:
        with self.lock:
            if self._open:
                self._open = False
                self.sql.close()
                self.in_hand.close()
                self._release()

    def _release(self) -> None:
        if self._holder:
            self._holder.release()

    def require_open(self) -> None:
        if not self._open:
            raise HubClosed("the task hub is closed")

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self._path) from error


def explain(error: sqlite3.Error, path: Path | None) -> HubError:
    """The hub's own error for one of sqlite's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return HubFull(f"no space left for {path}: nothing was changed; free some space and repeat ({error})")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return HubLocked(f"{path} is locked by another program ({error})")
    return HubDamaged(f"{path} cannot be read or written: {error}")


def _connect(path: Path | None, synchronous: Synchronous) -> sqlite3.Connection:
    if path:
        refuse_unusable(path)
    connection: Any = None
    try:
        connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False, timeout=2
        )
        prepare(connection, path)
        # It reads the whole file. A large one must still open at once; its damage is reported where it is met.
        small = path and path.stat().st_size <= _CHECKED_BYTES
        if small and (verdict := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise HubDamaged(f"{path} is damaged: {verdict}. Nothing was changed; restore it from a copy")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection  # type: ignore[no-any-return]
    except sqlite3.Error as error:
        if connection:
            connection.close()
        raise explain(error, path) from error
    except BaseException:
        if connection:
            connection.close()
        raise
