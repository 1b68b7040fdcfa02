"""Who holds which endpoint, and what its rollouts came to.

endpoints/{endpoint}.json                 the fence: holder, epoch, last good map, live and previous; moved with If-Match
deployments/{run}/steps/{n}.json          what the n-th step of a rollout showed
deployments/{run}/logs/{deployment}.txt   the end of a deployment's log, where it failed
"""

from __future__ import annotations

import json
from collections.abc import Callable

from shared.azure import blob, ledger
from shared.config import settings
from shared.domain.deploy import DeployOutcome, EndpointRecord
from shared.domain.errors import TransientError
from shared.domain.judging import StepEvidence

_FOLDER = "endpoints/"
_MOST_RACES = 20


def read(endpoint: str) -> EndpointRecord:
    """The record, or the one of an endpoint that nobody ever held."""
    return _read(endpoint)[0]


def update(endpoint: str, change: Callable[[EndpointRecord], EndpointRecord]) -> EndpointRecord:
    """Move the record by a pure `change`, again if somebody moved it meanwhile. Gives the record as it is now.

    Raises what `change` raises, and TransientError after too many lost races.
    """
    for _ in range(_MOST_RACES):
        record, etag = _read(endpoint)
        moved = change(record)
        if moved == record or blob.write_if_match(
            _container(), _path(endpoint), ledger.encode(moved), etag=etag
        ):
            return moved
    raise TransientError(f"the record of endpoint {endpoint} is contended", code="Contended", retry_after_s=5)


def all_records() -> list[EndpointRecord]:
    """The record of every endpoint that was ever held."""
    paths = ledger.list_paths(_FOLDER)
    return [read(path.removeprefix(_FOLDER).removesuffix(".json")) for path in paths]


def is_over(run: str) -> bool:
    """Whether a run's end is on record."""
    return ledger.exists(_outcome_path(run))


def write_outcome(outcome: DeployOutcome) -> None:
    """How a run ended. Only a roll back that ended without success may be asked for again, and end otherwise."""
    path = _outcome_path(outcome.run)
    if ledger.claim(path, outcome):
        return
    found = blob.read_with_etag(_container(), path)
    if found is None or found.data == ledger.encode(outcome):
        return
    if DeployOutcome.model_validate_json(found.data).is_settled:
        ledger.create(path, outcome)  # refuses: it says otherwise
    blob.write_if_match(_container(), path, ledger.encode(outcome), etag=found.etag)


def write_step(evidence: StepEvidence) -> None:
    """What a step showed. The first word stands: a step that is told again is told by a replay of the same run."""
    ledger.claim(f"deployments/{evidence.run}/steps/{evidence.number}.json", evidence)


def write_log(run: str, deployment: str, text: str) -> None:
    """Keep the first log that was read: a later look may find a container that began anew."""
    blob.create_only(_container(), f"deployments/{run}/logs/{deployment}.txt", text.encode())


def _read(endpoint: str) -> tuple[EndpointRecord, str]:
    found = blob.read_with_etag(_container(), _path(endpoint))
    if found is None:
        return EndpointRecord(endpoint=endpoint), ""
    return EndpointRecord.model_validate(json.loads(found.data)), found.etag


def _path(endpoint: str) -> str:
    return f"{_FOLDER}{endpoint}.json"


def _outcome_path(run: str) -> str:
    return f"runs/{run}/outcome.json"


def _container() -> str:
    return settings().state_container
