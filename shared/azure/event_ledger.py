"""The ledger of events, and what was decided about them.

events/{yyyymmdd}/{key}.json   a fact, once, under the day on which it happened: a copy that comes days later finds it
events/open/{key}.json         the marker of a fact that is on record and about which not everything is decided
events/refused|unknown/...     what was not taken: one record per delivery of its own, so that counting them is exact
retraining/{workload}.json     what a workload's retrainings came to; moved with If-Match
decisions/{workload}/{key}.json
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache

from shared.azure import blob, ledger
from shared.config import settings
from shared.domain.errors import NotFoundError
from shared.domain.ml_events import Ignored, MlEvent
from shared.domain.retrain_decision import Decision, TriggerState

NOBODY = "_"  # stands for the workload where no workload listens; no workload can be called so
_OPEN = "events/open/"
_RECONCILED = "events/reconciled.json"


def record(event: MlEvent, *, origin: str, to_consider: bool) -> bool:
    """Put a fact on record. True for the one caller who did; then the fact is safe, whatever becomes of this process.

    The marker first: at no moment is a fact on record that is to be considered and would be forgotten.
    """
    path = _path(event.occurred, event.key)
    try:
        _find(settings().state_container, path)
        return False
    except NotFoundError:
        pass
    if to_consider:
        ledger.claim(_OPEN + f"{event.key}.json", {"path": path})
    return ledger.claim(path, {"event": event.model_dump(mode="json"), "origin": origin})


@lru_cache(maxsize=10_000)
def _find(container: str, path: str) -> None:
    """Raises NotFoundError, which is not remembered. What is found is: a record is for ever, copies come in storms."""
    blob.head(container, path)


def record_refused(found: MlEvent | Ignored, *, why: str) -> None:
    """Put on record that something came and was not taken. `why`: refused or unknown."""
    day = f"{found.occurred:%Y%m%d}" if found.occurred else "undated"
    ledger.claim(f"events/{why}/{day}/{found.key}.json", found.model_dump(mode="json"))


def count_refused(why: str) -> int:
    return len(ledger.list_paths(f"events/{why}/"))


def unconsidered() -> list[MlEvent]:
    """Facts on record about which not everything is decided.

    A marker without a fact was never acknowledged: it comes again.
    """
    found = []
    for path in ledger.list_paths(_OPEN):
        marker = ledger.read(path)
        entry = ledger.read(marker["path"]) if marker else None
        if entry is not None:
            found.append(MlEvent.model_validate(entry["event"]))
    return found


def set_considered(key: str) -> None:
    """Everything is decided about a fact: nobody need consider it again."""
    ledger.delete(f"{_OPEN}{key}.json")


def keys_of(day: datetime) -> set[str]:
    """The keys of all facts of a day (UTC)."""
    paths = ledger.list_paths(f"events/{day:%Y%m%d}/")
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


def _path(day: datetime, key: str) -> str:
    return f"events/{day:%Y%m%d}/{key}.json"


def _state_path(workload: str) -> str:
    return f"retraining/{workload}.json"


def _decision_path(workload: str, key: str) -> str:
    return f"decisions/{workload}/{key}.json"
