"""The fence around an endpoint: one holder at a time, an epoch that rises with every hold. Records in, records out.

Azure ML gives an endpoint no etag, so what keeps two writers apart is this record, moved with If-Match, and the epoch
that every write carries in the endpoint's tag.
"""

from __future__ import annotations

from datetime import timedelta

from shared.domain.deploy import (
    CommitRequest,
    EndpointRecord,
    FreeRequest,
    Hold,
    HoldRequest,
    KeptDeployment,
    LastGood,
)
from shared.domain.errors import ConflictError
from shared.domain.serving import FENCED

TENDER = "tend-endpoints"  # who holds an endpoint while a lost rollout is taken back
TEND_WITHIN = timedelta(minutes=30)  # so long it is tried; then a person is asked


def hold(record: EndpointRecord, asked: HoldRequest) -> Hold:
    """Give the endpoint to the run that asks, if nobody has it or it may be taken over.

    The same run asking again gets what it has. What was last good is forgotten by a run that begins, and kept by one
    that takes over: the first has to save its own before it shifts anything.
    """
    if record.holder == asked.run and not (asked.resume and record.frozen):
        return Hold(granted=True, record=record)
    if asked.from_epoch is not None:
        if record.epoch != asked.from_epoch:
            return _refused(
                record, f"it was taken since: its epoch is {record.epoch}, not {asked.from_epoch}"
            )
        if (
            record.holder is None
        ):  # it came to its end between the look at the record and now: nothing is lost
            return _refused(record, "its holder let it go since")
    elif record.frozen and not asked.resume:
        return _refused(record, f"it is frozen: {record.frozen}")
    elif record.holder and not (asked.resume and record.frozen):
        return _refused(record, f"{record.holder} holds it until {record.deadline}")
    keeps = record.holder is not None
    taken = record.model_copy(
        update={
            "endpoint": asked.endpoint,
            "platform": asked.platform,
            "workload": asked.workload or record.workload,
            "holder": asked.run,
            "epoch": record.epoch + 1,
            "taken": asked.at,
            "deadline": asked.deadline,
            "held_for": (record.held_for or record.holder or "") if keeps else "",
            "last_good": record.last_good if keeps else {},
            "is_saved": keeps and record.is_saved,
            "frozen": "",
            "commands": (),
        }
    )
    return Hold(granted=True, record=taken)


def _refused(record: EndpointRecord, reason: str) -> Hold:
    return Hold(granted=False, record=record, holder=record.holder or "", reason=reason)


def check_holder(record: EndpointRecord, run: str, epoch: int) -> None:
    """Raises ConflictError, code Fenced, unless `run` holds the endpoint under `epoch`."""
    if (record.holder, record.epoch) != (run, epoch):
        raise ConflictError(
            f"endpoint {record.endpoint} is held by {record.holder or 'nobody'} under epoch {record.epoch}, "
            f"not by {run} under {epoch}",
            code=FENCED,
            target=record.endpoint,
        )


def check_free(record: EndpointRecord, epoch: int) -> None:
    """Raises ConflictError, code Fenced, if anybody took the endpoint since `epoch`."""
    if record.holder is not None or record.epoch != epoch:
        raise ConflictError(
            f"endpoint {record.endpoint} was taken since epoch {epoch}: {record.holder} under {record.epoch}",
            code=FENCED,
            target=record.endpoint,
        )


def save_last_good(record: EndpointRecord, asked: LastGood) -> EndpointRecord:
    """Put the map on record. Raises ConflictError, code Fenced. What is there for this epoch already stays as it is.

    A rollout retires what stands by without traffic: from here on nobody is offered it any more.
    """
    check_holder(record, asked.run, asked.epoch)
    if record.is_saved:
        return record
    saved: dict[str, object] = {"last_good": asked.weights, "is_saved": True}
    if not asked.keeps_previous:
        saved |= {"previous": None, "hold_until": None, "kept": ()}
    return record.model_copy(update=saved)


def commit(record: EndpointRecord, asked: CommitRequest) -> EndpointRecord:
    """Green is live and nobody holds the endpoint any more. Safe to repeat. Raises ConflictError, code Fenced."""
    if record.epoch == asked.epoch and record.holder is None and record.live == asked.live:
        return record
    check_holder(record, asked.run, asked.epoch)
    return record.model_copy(
        update={
            **_FREE,
            "live": asked.live,
            "previous": asked.previous,
            "hold_until": asked.hold_until if asked.previous else None,
            "kept": _kept(record, asked.kept),
        }
    )


_FREE: dict[str, object] = {
    "holder": None, "held_for": "", "taken": None, "deadline": None, "last_good": {}, "is_saved": False, "frozen": "",
    "commands": (),
}  # fmt: skip


def _kept(record: EndpointRecord, more: tuple[KeptDeployment, ...]) -> tuple[KeptDeployment, ...]:
    return tuple({each.deployment.name: each for each in (*record.kept, *more)}.values())


def free(record: EndpointRecord, asked: FreeRequest) -> EndpointRecord:
    """Let go, or freeze. Of another holder, or under another epoch, nothing changes.

    Where what stood by is the last good map, it is live now: a roll back was brought to its end by somebody else.
    """
    if (record.holder, record.epoch) != (asked.run, asked.epoch):
        return record
    changes: dict[str, object] = {"kept": _kept(record, asked.kept)}
    if not asked.frozen and record.previous and record.previous.name in record.last_good:
        changes |= {"live": record.previous, "previous": None, "hold_until": None}
    if asked.forget_previous:
        changes |= {"previous": None, "hold_until": None}
    if asked.forget_live:
        changes |= {"live": None, "previous": None, "hold_until": None}
    ended = {"frozen": asked.frozen} if asked.frozen else _FREE
    return record.model_copy(update={**changes, **ended})


def forget(record: EndpointRecord, deployment: str) -> EndpointRecord:
    """A deployment that was deleted is offered to nobody any more."""
    changes: dict[str, object] = {
        "kept": tuple(each for each in record.kept if each.deployment.name != deployment)
    }
    if record.previous and record.previous.name == deployment:
        changes |= {"previous": None, "hold_until": None}
    return record.model_copy(update=changes)
