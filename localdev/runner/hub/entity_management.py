"""Asking about and signalling entities, for clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from . import entities
from .instances import FINAL
from .messages import to_datetime, to_microseconds
from .store import Store

_COLUMNS = "id, state, modified, owner_id, (SELECT count(*) FROM operation o WHERE o.entity = entity.id AND is_lock = 0)"


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as clients see it. `locked_by` is the id of the orchestration that holds its lock."""

    id: str
    state: str | None
    modified: int
    locked_by: str | None
    backlog: int

    @property
    def modified_at(self) -> datetime:
        return to_datetime(self.modified)


class EntityManagement:
    store: Store

    def signal_entity(
        self,
        entity_id: str,
        operation: str,
        input: str | None = None,
        *,
        at: datetime | None = None,
        request_id: str = "",
    ) -> None:
        """Queue an operation for an entity (`@name@key`), now or when the hub's clock shows `at`. `input` is JSON."""
        with self.store.transaction() as tx:
            due = to_microseconds(at) if at else None
            entities.signal(tx, entity_id, operation, input, due=due, request_id=request_id)

    def get_entity(self, entity_id: str) -> Entity | None:
        """An entity that has a state; one that was deleted, or never ran an operation, is absent."""
        with self.store.reading() as sql:
            row = sql.execute(
                f"SELECT {_COLUMNS} FROM entity WHERE id = ? AND state IS NOT NULL", (entity_id,)
            ).fetchone()
        return Entity(*row) if row else None

    def query_entities(
        self,
        *,
        prefix: str | None = None,
        modified_from: datetime | None = None,
        modified_to: datetime | None = None,
        transient: bool = False,
        page_size: int = 100,
        token: str | None = None,
    ) -> tuple[list[Entity], str | None]:
        """One page of entities by id. `transient` includes those without a state (locked ones)."""
        where, values = ["1" if transient else "state IS NOT NULL"], list[str | int]()
        for condition, value in (
            ("substr(id, 1, length(?)) = ?", prefix),
            ("modified >= ?", modified_from),
            ("modified < ?", modified_to),
            ("id > ?", token),
        ):
            if value:
                bound = value if isinstance(value, str) else to_microseconds(value)
                where.append(condition)
                values += [bound] * condition.count("?")
        size = min(page_size, 1000) if page_size > 0 else 1000
        with self.store.reading() as sql:
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM entity WHERE {' AND '.join(where)} ORDER BY id LIMIT ?",
                (*values, size + 1),
            ).fetchall()
        page = [Entity(*row) for row in rows[:size]]
        return page, page[-1].id if len(rows) > size else None

    def clean_entities(
        self, *, remove_empty: bool = True, release_orphaned_locks: bool = True
    ) -> tuple[int, int]:
        """Remove entities without state, release locks whose orchestration is over; returns both counts.

        The hub does both by itself; this is for files that an earlier version left behind.
        """
        removed = released = 0
        final = ",".join(str(int(status)) for status in FINAL)
        with self.store.transaction() as tx:
            if release_orphaned_locks:
                orphans = tx.sql.execute(
                    "SELECT DISTINCT owner FROM entity WHERE owner IS NOT NULL AND owner NOT IN"
                    f" (SELECT key FROM instance WHERE status NOT IN ({final}))"
                ).fetchall()
                released = sum(len(entities.release_all(tx, owner)) for (owner,) in orphans)
            if remove_empty:
                removed = tx.sql.execute(
                    "DELETE FROM entity WHERE state IS NULL AND owner IS NULL AND NOT EXISTS"
                    " (SELECT 1 FROM operation o WHERE o.entity = entity.id)"
                ).rowcount
        return removed, released
