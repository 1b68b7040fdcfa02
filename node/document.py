"""An errand that leaves one JSON document: made once, and found by whoever is sent on the same errand again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.child import close_own_memory
from node.job import Head
from node.progress import Progress
from node.storage import Store

_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Document:
    """`blob` lies in the run's state container; `make` gives its bytes, `rows` how many rows it tells of."""

    head: Head
    what: str
    blob: str
    make: Callable[[Store, threading.Event, Path], bytes]
    rows: Callable[[dict[str, Any]], int]

    @property
    def parts(self) -> tuple[int, int]:
        return 1, 1

    def carry_out(self, store: Store, progress: Progress, stop: threading.Event, work: Path) -> None:
        """Leave the document, unless it is there. What `make` raises leaves nothing."""
        close_own_memory()
        container = self.head.state_container
        if self.blob not in store.names(container, self.blob):
            store.create(container, self.blob, self.make(store, stop, work), content_type="application/json")
        found = json.loads(store.read(container, self.blob, max_bytes=_MAX_BYTES))
        progress.part_done(self.what, good=True, rows=self.rows(found))
