"""Tables of a hub file.

Everything a hub promises is in these rows; queues of ready work are derived from them when a file is opened.
`instance.key` is never used twice, so a row that names (key, generation) cannot be mistaken for one of a later
instance of the same id, nor for one of a later generation (continue-as-new) of the same instance.
Times are microseconds since the epoch on the hub's clock.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .errors import HubDamaged, HubTooNew

APPLICATION_ID = 0x4D757374  # "Must": sqlite's own mark of whose file this is
SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE instance (
  key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  generation INTEGER NOT NULL, execution_id TEXT NOT NULL, name TEXT NOT NULL, version TEXT,
  status INTEGER NOT NULL, suspending INTEGER NOT NULL DEFAULT 0,
  created INTEGER NOT NULL, updated INTEGER NOT NULL, completed INTEGER, start_at INTEGER,
  parent_key INTEGER, parent_generation INTEGER, parent_task INTEGER, parent_id TEXT,
  events INTEGER NOT NULL DEFAULT 0, tags TEXT, trace BLOB, failure BLOB,
  custom_status TEXT, input TEXT, output TEXT
) STRICT;
CREATE INDEX instance_parent ON instance (parent_key) WHERE parent_key IS NOT NULL;
CREATE INDEX instance_start ON instance (start_at) WHERE start_at IS NOT NULL;
CREATE INDEX instance_completed ON instance (completed, id) WHERE completed IS NOT NULL;

CREATE TABLE history (
  instance INTEGER NOT NULL, seq INTEGER NOT NULL, event BLOB NOT NULL, PRIMARY KEY (instance, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE inbox (
  n INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, kind INTEGER NOT NULL, event BLOB
) STRICT;
CREATE INDEX inbox_instance ON inbox (instance);

CREATE TABLE activity (
  id INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, generation INTEGER NOT NULL,
  task INTEGER NOT NULL, name TEXT NOT NULL, version TEXT, deliveries INTEGER NOT NULL DEFAULT 0,
  request BLOB NOT NULL
) STRICT;
CREATE INDEX activity_instance ON activity (instance);

CREATE TABLE timer (
  id INTEGER PRIMARY KEY AUTOINCREMENT, fire_at INTEGER NOT NULL, instance INTEGER NOT NULL,
  generation INTEGER NOT NULL, timer INTEGER NOT NULL
) STRICT;
CREATE INDEX timer_fire ON timer (fire_at);
CREATE INDEX timer_instance ON timer (instance);

CREATE TABLE entity (
  id TEXT PRIMARY KEY, state TEXT, modified INTEGER NOT NULL, section TEXT, owner INTEGER, owner_id TEXT
) STRICT;
CREATE INDEX entity_owner ON entity (owner) WHERE owner IS NOT NULL;

CREATE TABLE operation (
  n INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, due INTEGER, is_lock INTEGER NOT NULL DEFAULT 0,
  caller INTEGER, caller_generation INTEGER, event BLOB NOT NULL
) STRICT;
CREATE INDEX operation_entity ON operation (entity);
CREATE INDEX operation_due ON operation (due) WHERE due IS NOT NULL;
CREATE INDEX operation_lock ON operation (caller) WHERE is_lock = 1;
"""


def prepare(connection: sqlite3.Connection, path: Path | None) -> None:
    """Create the tables in a new file, or check that an existing file is a hub this program can read.

    Raises HubTooNew or HubDamaged; the file is then unchanged.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (version, application, tables) == (0, 0, 0):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
        return
    if application != APPLICATION_ID:
        raise HubDamaged(f"{path} is an SQLite file, but not a task hub; choose another --hub file")
    if version > SCHEMA_VERSION:
        raise HubTooNew(
            f"{path} has schema {version}, this program reads up to {SCHEMA_VERSION}:"
            " use the newer program, or choose another --hub file"
        )
    connection.execute("PRAGMA journal_mode = WAL")


def refuse_unusable(path: Path) -> None:
    """Raise HubDamaged if `path` exists but is plainly no whole SQLite file. Only looks; sqlite has not opened it yet.

    In WAL mode the size in the header is that of the last checkpoint, so a shorter file was cut, unless a
    checkpoint was interrupted: then the write-ahead log still has every page and sqlite repairs it.
    """
    if not path.exists():
        return
    size = path.stat().st_size
    wal = path.with_name(path.name + "-wal")
    has_wal = wal.exists() and wal.stat().st_size > 0
    if size == 0 and not has_wal:
        raise HubDamaged(f"{path} is empty: delete it to start a new hub, or restore it from a copy")
    with path.open("rb") as file:
        header = file.read(100)
    if size and header[:16] != b"SQLite format 3\x00":
        raise HubDamaged(f"{path} is not a task hub (not an SQLite file)")
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if size < expected and not has_wal:
        raise HubDamaged(
            f"{path} is truncated: {size} of {expected} bytes. Nothing was changed; restore it from a copy"
        )
