"""What people decide about a deployment. Their word is a record, written once; an event only wakes the run to read it."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Literal

import azure.functions as func
from pydantic import BaseModel, ConfigDict, StringConstraints

from shared.azure import approval_records, arm
from shared.domain.deploy import FUNCTION_KEY, Approval, ApprovalRequest, fault_of
from shared.domain.errors import ConflictError
from shared.durable.client import Orchestrations
from shared.triggers import deploy_view
from shared.triggers.answers import json_answer, read_body
from shared.triggers.deployments import deployment_of, find_known, state_of
from shared.triggers.principals import APPROVE, Forbidden, principal_of, require

type Word = Literal["approve", "reject"]


class Decision(BaseModel):
    """The body: the digest of what was looked at, as GET shows it, so that nobody agrees to what came after."""

    model_config = ConfigDict(extra="forbid", strict=True)

    digest: Annotated[str, StringConstraints(pattern=re.compile(r"^[0-9a-f]{64}$"))]
    note: Annotated[str, StringConstraints(max_length=400)] = ""


class NotAsked(ConflictError):
    """Nothing, or something else, is asked about the run; or it was decided, or is too late."""


async def approve_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Let green have traffic, or a paused rollout go on. By someone else than who asked, where four eyes are required."""
    return await _decide(req, orchestrations, "approve")


async def reject_deployment(req: func.HttpRequest, orchestrations: Orchestrations) -> func.HttpResponse:
    """Refuse green, or have a paused rollout rolled back."""
    return await _decide(req, orchestrations, "reject")


async def _decide(req: func.HttpRequest, orchestrations: Orchestrations, word: Word) -> func.HttpResponse:
    run, who = deployment_of(req), principal_of(req)
    require(who, APPROVE, to=f"{word} a deployment")
    body = read_body(req, Decision)
    look = await find_known(orchestrations, run)
    if look.is_over:
        raise NotAsked(f"{run} is over ({state_of(look)}); there is nothing to {word}", code="RunIsOver")
    asked = await asyncio.to_thread(approval_records.newest_request, run)
    if asked is None:
        raise NotAsked(f"{run} has asked nobody yet", code="NotAsked")
    approval = Approval(
        decision=word, by=who.id or FUNCTION_KEY, name=who.name, digest=body.digest, note=body.note,
        at=await asyncio.to_thread(arm.now),
    )  # fmt: skip
    await asyncio.to_thread(_record, asked, approval)
    await orchestrations.wake(run)
    return json_answer({"id": run, "decision": word, "digest": asked.digest, **deploy_view.links(req, run)})


def _record(asked: ApprovalRequest, approval: Approval) -> None:
    """Put a decision on record, if it counts. Raises Forbidden for who may not, NotAsked for what does not."""
    fault = fault_of(approval, asked)
    if fault.startswith("four eyes"):
        raise Forbidden(f"{approval.name} may not approve {asked.run}: {fault}")
    if fault:
        raise NotAsked(f"this approval counts for nothing: {fault}", code="ApprovalVoid")
    if not approval_records.decide(asked.run, asked.number, approval):
        first = approval_records.read_decision(asked.run, asked.number)
        said = (
            f"{first.decision} by {first.name or first.by} at {first.at.isoformat()}"
            if first
            else "otherwise"
        )
        raise NotAsked(f"it was decided: {said}; the first word counts", code="Decided")
