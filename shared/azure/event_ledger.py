"""The ledger of events, and what was decided about them.

events/open/{key}.json         a fact about which not everything is decided
events/{yyyymmdd}/{key}.json   any other, once, under the day on which it happened: a copy that comes days later finds it
events/refused|unknown/...     what was not taken: one record per delivery of its own, so that counting them is exact
retraining/{workload}.json     what a workload's retrainings came to; moved with If-Match
decisions/{workload}/{key}.json
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from shared.azure import blob, ledger
from shared.config import settings
from shared.domain.ml_events import Ignored, MlEvent
from shared.domain.retrain_decision import Decision, TriggerState

NOBODY = "_"  # stands for the workload where no workload listens; no workload can be called so
_OPEN = "events/open/"
_RECONCILED = "events/reconciled.json"


def record(event: MlEvent, *, origin: str, to_consider: bool) -> bool:
    """Put a fact on record. True for the one caller who did; then the fact is safe, whatever becomes of this process.

    One write does it, so that at no moment a fact is on record that is to be considered and would be forgotten.
    """
    path = _path(event.occurred, event.key)
    known = _known(settings().state_container, path)
    if known.is_set():
        return False
    entry = {"event": event.model_dump(mode="json"), "origin": origin}
    is_new = _record_open(event.key, path, entry) if to_consider else ledger.claim(path, entry)
    known.set()
    return is_new


@lru_cache(maxsize=10_000)
def _known(container: str, path: str) -> threading.Event:
    """Set once this process knows that a fact is on record. It is for ever, and copies come in storms."""
    return threading.Event()


def _record_open(key: str, path: str, entry: dict[str, Any]) -> bool:
    if not ledger.claim(_open_path(key), entry):
        return False
    if ledger.exists(path):  # it was considered, and this is a copy of it
        ledger.delete(_open_path(key))
        return False
    return True


def record_refused(found: MlEvent | Ignored, *, why: str) -> None:
    """Put on record that something came and was not taken. `why`: refused or unknown."""
    day = f"{found.occurred:%Y%m%d}" if found.occurred else "undated"
    ledger.claim(f"events/{why}/{day}/{found.key}.json", found.model_dump(mode="json"))


def count_refused(why: str) -> int:
    return len(ledger.list_paths(f"events/{why}/"))


def unconsidered() -> list[MlEvent]:
    """Facts on record about which not everything is decided."""
    entries = [ledger.read(path) for path in ledger.list_paths(_OPEN)]
    return [MlEvent.model_validate(entry["event"]) for entry in entries if entry]


def set_considered(key: str) -> None:
    """Everything is decided about a fact: nobody need consider it again. At no moment it is in neither place."""
    entry = ledger.read(_open_path(key))
    if entry is None:
        return
    ledger.claim(_path(MlEvent.model_validate(entry["event"]).occurred, key), entry)
    ledger.delete(_open_path(key))


def keys_of(days: Iterable[datetime]) -> set[str]:
    """The keys of all facts of these days (UTC), and of all that are open, whatever their day."""
    prefixes = [_OPEN, *(f"events/{day:%Y%m%d}/" for day in days)]  # in the order in which a fact moves
    paths = (path for prefix in prefixes for path in ledger.list_paths(prefix))
    return {path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths}


def read_state(workload: str) -> tuple[TriggerState, str]:
    """The state and its etag ("" while there is none)."""
    found = blob.read_with_etag(settings().state_container, _state_path(workload))
    return (TriggerState.model_validate_json(found.data), found.etag) if found else (TriggerState(), "")


def write_state(workload: str, state: TriggerState, etag: str) -> bool:
    """Move the state on, unless somebody did since `etag`: then False."""
    path = _state_path(workload)
    return blob.write_if_match(settings().state_container, path, ledger.encode(state), etag=etag)


def read_decision(workload: str, key: str) -> tuple[Decision | None, str]:
    found = blob.read_with_etag(settings().state_container, _decision_path(workload, key))
    return (Decision.model_validate_json(found.data), found.etag) if found else (None, "")


def write_decision(decision: Decision, etag: str) -> bool:
    """Record a decision, in place of the one of `etag`, which was to wait. False if another was recorded meanwhile."""
    path = _decision_path(decision.workload, decision.key)
    return blob.write_if_match(settings().state_container, path, ledger.encode(decision), etag=etag)


def newest_decisions(workload: str, most: int) -> list[Decision]:
    """The decisions that were recorded last, newest first."""
    found = blob.list_blobs(settings().state_container, f"decisions/{workload}/")
    newest = sorted(found, key=lambda each: (each.last_modified, each.name), reverse=True)[:most]
    read = (ledger.read(each.name) for each in newest)
    return [Decision.model_validate(each) for each in read if each]


def read_reconciled() -> tuple[datetime | None, str]:
    """Up to when the ledger was compared with Azure ML."""
    found = blob.read_with_etag(settings().state_container, _RECONCILED)
    return (datetime.fromisoformat(json.loads(found.data)["through"]), found.etag) if found else (None, "")


def write_reconciled(through: datetime, etag: str) -> None:
    """Unless another pass was faster: then its word stands."""
    data = ledger.encode({"through": through.isoformat()})
    blob.write_if_match(settings().state_container, _RECONCILED, data, etag=etag)


def _open_path(key: str) -> str:
    return f"{_OPEN}{key}.json"


def _path(day: datetime, key: str) -> str:
    return f"events/{day:%Y%m%d}/{key}.json"


def _state_path(workload: str) -> str:
    return f"retraining/{workload}.json"


def _decision_path(workload: str, key: str) -> str:
    return f"decisions/{workload}/{key}.json"
