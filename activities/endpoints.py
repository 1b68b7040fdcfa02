"""The fence around endpoints: holding, committing, letting go, and every write of traffic under it."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from functools import partial

from shared.azure import arm
from shared.azure import endpoint_records as records
from shared.config import settings
from shared.domain import fence, names, tending
from shared.domain.deploy import (
    CommitRequest,
    EndpointRecord,
    FreeRequest,
    Hold,
    HoldRequest,
    LastGood,
)
from shared.domain.errors import AppError, TransientError
from shared.domain.lease import Operation
from shared.domain.serving import Deletion, DeletionRequest, TrafficChange
from shared.domain.tending import Chore, Chores, TendRequest
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.platforms import platform

logger = logging.getLogger(__name__)

WRITE_WITHIN_S = (
    30.0  # of the look at the record: in a second or two it is written, or its worker was out of sight
)


@activity(contracts.HOLD_ENDPOINT)
def hold_endpoint(asked: HoldRequest) -> Hold:
    """Take the endpoint, if it is to be had; asked again by the same run it gives the same epoch."""
    given: list[Hold] = []

    def take(record: EndpointRecord) -> EndpointRecord:
        given.append(fence.hold(record, asked))
        return given[-1].record

    records.update(asked.endpoint, take)
    return given[-1]


@activity(contracts.SAVE_LAST_GOOD)
def save_last_good(asked: LastGood) -> EndpointRecord:
    """Put on record what is to come back, before anything is shifted. Raises ConflictError, code Fenced."""
    return records.update(asked.endpoint, lambda record: fence.save_last_good(record, asked))


@activity(contracts.COMMIT_ROLLOUT)
def commit_rollout(asked: CommitRequest) -> EndpointRecord:
    """Green is live. Raises ConflictError, code Fenced."""
    return records.update(asked.endpoint, lambda record: fence.commit(record, asked))


@activity(contracts.FREE_ENDPOINT)
def free_endpoint(asked: FreeRequest) -> EndpointRecord:
    """Let the endpoint go; or freeze it, with what a person may type. Of another holder nothing changes."""

    def change(record: EndpointRecord) -> EndpointRecord:
        moved = fence.free(record, asked)
        if not moved.frozen or moved.commands:
            return moved
        return moved.model_copy(update={"commands": _commands(moved)})

    return records.update(asked.endpoint, change)


def _commands(record: EndpointRecord) -> tuple[str, ...]:
    """What sets the last good map by hand. The record's own way back is a roll back, which reads the map back too."""
    roll_back = f"muster rollback {record.held_for or record.holder}"
    if record.platform == "local":
        return (roll_back,)
    workspace = settings().ml_workspace_id.split("/")
    scope = f"--resource-group {workspace[4]} --workspace-name {workspace[-1]}" if len(workspace) > 4 else ""
    weights = " ".join(f"{name}={weight}" for name, weight in record.last_good.items())
    show = f"az ml online-endpoint show --name {record.endpoint} {scope} --query traffic".replace("  ", " ")
    if not weights:
        return (show, roll_back)
    set_ = f'az ml online-endpoint update --name {record.endpoint} --traffic "{weights}" {scope}'.rstrip()
    return (show, set_, roll_back)


@activity(contracts.SET_TRAFFIC)
def set_traffic(change: TrafficChange) -> Operation:
    """Write the whole map, if the record still says that this run holds the endpoint. Raises ConflictError, code Fenced.

    The platform asks the endpoint's own tag besides. A worker that was out of sight in between writes nothing: another
    has written for it long ago, and the rollout, or the run, may be elsewhere. Raises TransientError, code Late, then.
    """
    began = time.monotonic()
    fence.check_holder(records.read(change.endpoint), change.run, change.epoch)
    confirm = partial(_check_in_time, change.endpoint, began)
    return platform(change.platform).serving.set_traffic(change, confirm=confirm)


def _check_in_time(endpoint: str, began: float) -> None:
    late_s = time.monotonic() - began
    if late_s > WRITE_WITHIN_S:
        raise TransientError(
            f"the map of {endpoint} was not written: it was decided {late_s:.0f} s ago",
            code="Late",
            retry_after_s=5,
        )


@activity(contracts.LIST_LOST_ROLLOUTS)
def list_lost_rollouts(request: TendRequest) -> Chores:
    """What is to do for endpoints between rollouts. One that cannot be looked at keeps no other from being tended."""
    now = arm.now()
    everything = records.all_records()
    over = {each.holder for each in everything if each.holder and _is_over(each.holder, request)}
    chores: list[Chore] = []
    failed: list[str] = []
    alive = 0
    for record in tending.choose_looks(everything, over=over, now=now):
        try:
            found = _chores_of(record, request, now)
        except AppError as error:
            failed.append(f"{record.endpoint}: {error}"[:400])
            continue
        chores += found
        alive += not found
    return Chores(chores=tuple(chores[: tending.MAX_PER_PASS]), failed=tuple(failed), alive=alive, now=now)


def _chores_of(record: EndpointRecord, request: TendRequest, now: datetime) -> list[Chore]:
    look = platform(record.platform).serving.read_endpoint(record.endpoint)
    runs = tending.owners(look) | ({record.holder} if record.holder else set())
    return tending.chores(record, look, over={run for run in runs if _is_over(run, request)}, now=now)


def _is_over(run: str, request: TendRequest) -> bool:
    return run in request.owners_over or (names.is_run_id(run) and records.is_over(run))


@activity(contracts.RETIRE_DEPLOYMENT)
def retire_deployment(chore: Chore) -> Deletion:
    """Delete what stands by without traffic. First nobody is offered it any more, and only if nobody took the endpoint.

    Raises ConflictError, code Fenced, where somebody did.
    """

    def strike(record: EndpointRecord) -> EndpointRecord:
        fence.check_free(record, chore.epoch)
        return fence.forget(record, chore.deployment)

    records.update(chore.endpoint, strike)
    return delete(
        DeletionRequest(
            platform=chore.platform, endpoint=chore.endpoint, deployment=chore.deployment, run=chore.run,
            reason=chore.reason,
        )
    )  # fmt: skip


def delete(asked: DeletionRequest) -> Deletion:
    """One deleting request, unless it is gone."""
    operation = platform(asked.platform).serving.begin_deletion(asked.endpoint, asked.deployment, asked.run)
    if operation is None:
        return Deletion(gone=True)
    return Deletion(gone=False, poll_after_s=operation.poll_after_s)
