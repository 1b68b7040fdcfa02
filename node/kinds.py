"""The kinds of job that are no scoring, by the schema they bear. Each loads its own module, and what that needs."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Protocol, cast

from node.job import Head, schema_of
from node.progress import Progress
from node.storage import Store

_MODULES = {
    "muster.train-job/1": "node.training",
    "muster.evaluate-job/1": "node.evaluation",
    "muster.evaluate-units-job/1": "node.unit_evaluation",
    "muster.drift-job/1": "node.drift",
    "muster.convert-job/1": "node.convert",
}


class Errand(Protocol):
    """One job, parsed. `parts`: how many parts and inputs its progress counts to."""

    @property
    def head(self) -> Head: ...

    @property
    def parts(self) -> tuple[int, int]: ...

    def carry_out(self, store: Store, progress: Progress, stop: threading.Event, work: Path) -> None:
        """Do what is not done yet, in the empty folder `work`. Raises NodeError; then it is to be started again."""


def errand_of(raw: bytes, account_url: str) -> Errand | None:
    """None for what is left to the score job's parser. Raises JobSpecError."""
    module = _MODULES.get(schema_of(raw))
    if module is None:
        return None
    return cast(Errand, importlib.import_module(module).errand_of(raw, account_url))
