"""Turns and entity batches over which a worker died: how often each, also when the hub died with its worker.

A worker of another process that goes out of sight is counted at once, one that takes the hub with it by whoever opens
the hub next (see in_hand).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from .in_hand import Subject
from .store import Store, Transaction

SUSPECT_AFTER = 2  # deaths; from then on it goes out while no other suspect does

# Instances that are over, replaced or purged; ids of entities are in quotes.
_FORGET = """DELETE FROM suspect WHERE subject NOT LIKE '"%'
  AND CAST(subject AS INTEGER) NOT IN (SELECT key FROM instance WHERE completed IS NULL)"""
_TABLE = "CREATE TABLE IF NOT EXISTS suspect (subject TEXT PRIMARY KEY, deaths INTEGER NOT NULL) STRICT"


class Suspects:
    """Deaths by subject. Callers hold the store's lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._deaths: dict[Subject, int] = {}

    def load(self) -> None:
        """Read what is on record, and count what was in hand when the hub died."""
        with self._store.transaction() as tx:
            tx.sql.execute(_TABLE)
            tx.sql.execute(_FORGET)
            rows = tx.sql.execute("SELECT subject, deaths FROM suspect").fetchall()
        self._deaths = {json.loads(subject): deaths for subject, deaths in rows}
        self.died(self._store.in_hand.take_over())

    def __bool__(self) -> bool:
        return bool(self._deaths)

    def deaths(self, subject: Subject) -> int:
        return self._deaths.get(subject, 0)

    def died(self, subjects: Iterable[Subject]) -> None:
        """Their worker died over them."""
        counted = {subject: self.deaths(subject) + 1 for subject in subjects}
        if not counted:
            return
        with self._store.transaction() as tx:
            for subject, deaths in counted.items():
                self._record(tx, subject, deaths)

    def survived(self, tx: Transaction, subject: Subject, *, more: bool = False) -> None:
        """A worker ended it. `more` of the same waits: it may have been that."""
        if subject in self._deaths:
            self._record(tx, subject, min(self._deaths[subject], SUSPECT_AFTER) if more else 0)

    def _record(self, tx: Transaction, subject: Subject, deaths: int) -> None:
        name = json.dumps(subject)
        tx.sql.execute("DELETE FROM suspect WHERE subject = ?", (name,))
        if deaths:
            tx.sql.execute("INSERT INTO suspect (subject, deaths) VALUES (?, ?)", (name, deaths))
        tx.after.append(lambda: self._remember(subject, deaths))

    def _remember(self, subject: Subject, deaths: int) -> None:
        self._deaths.pop(subject, None)
        if deaths:
            self._deaths[subject] = deaths
