"""What people are asked about a deployment and what they say; what a step of its rollout shows."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from shared.azure import approval_records, arm, collected, endpoint_records, ledger
from shared.domain.deploy import (
    Approval,
    ApprovalLook,
    ApprovalQuery,
    ApprovalRequest,
    DeployOutcome,
    EndpointRecord,
    fault_of,
)
from shared.domain.errors import AppError
from shared.domain.judging import Command, Observation, StepEvidence, StepQuery
from shared.domain.predictions import PredictionDrift, compare
from shared.domain.serving import DeploymentState, EndpointLook, MetricsQuery, ServingMetrics
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing
from shared.platforms import platform

logger = logging.getLogger(__name__)


@activity(contracts.ASK_APPROVAL)
def ask_approval(request: ApprovalRequest) -> Nothing:
    """Put on record what a person is asked, once."""
    approval_records.ask(request)
    return Nothing()


@activity(contracts.READ_APPROVAL)
def read_approval(query: ApprovalQuery) -> ApprovalLook:
    """What people want of a run, as it is on record. A decision that does not stand against its request is none."""
    by = approval_records.rollback_requested_by(query.run)
    return ApprovalLook(
        approval=_decision(query.run, query.number),
        cancel_requested=ledger.is_cancel_requested(query.run),
        rollback_requested=bool(by),
        by=by,
    )


def _decision(run: str, number: int) -> Approval | None:
    approval = approval_records.read_decision(run, number)
    asked = approval_records.read_request(run, number) if approval else None
    if approval is None or asked is None:
        return None
    if fault := fault_of(approval, asked):
        logger.warning("decision does not count", extra={"run": run, "number": number, "fault": fault})
        return None
    return approval


@activity(contracts.READ_STEP)
def read_step(query: StepQuery) -> Observation:
    """All that one look at a step shows. What cannot be seen is None in it: a look never fails."""
    now = arm.now()
    record = endpoint_records.read(query.endpoint)
    look = _look(query)
    command, by = _command(query)
    metrics = _metrics(query, now)
    return Observation(
        now=now,
        weights=look.map_in_force if look else None,
        endpoint_exists=look is None or look.exists,
        green=_state(look, query.green),
        blue=_state(look, query.blue) if query.blue else DeploymentState.READY,
        green_metrics=metrics.get(query.green),
        blue_metrics=metrics.get(query.blue),
        drift=drift_of(query, record, look, now),
        command=command,
        by=by,
        number=query.number if command in (Command.APPROVE, Command.REJECT) else 0,
        fenced=_is_fenced(query, record, look),
    )


def _look(query: StepQuery) -> EndpointLook | None:
    try:
        return platform(query.platform).serving.read_endpoint(query.endpoint)
    except AppError as error:
        logger.warning("endpoint not seen", extra={"run": query.run, "error": str(error)})
        return None


def _state(look: EndpointLook | None, deployment: str) -> DeploymentState:
    """What was not seen is not taken for broken: that nothing is promoted then is seen from the map."""
    return look.of(deployment).state if look else DeploymentState.READY


def _is_fenced(query: StepQuery, record: EndpointRecord, look: EndpointLook | None) -> bool:
    held = (record.holder, record.epoch) == (query.run, query.epoch)
    return not held or (look is not None and look.epoch > query.epoch)


def _metrics(query: StepQuery, now: datetime) -> dict[str, ServingMetrics]:
    names = tuple(name for name in (query.green, query.blue) if name)
    asked = MetricsQuery(
        platform=query.platform, endpoint=query.endpoint, deployments=names, since=query.since, until=now
    )
    if asked.since >= asked.until:
        return {}
    try:
        return platform(query.platform).serving.read_metrics(asked)
    except AppError as error:
        logger.warning("metrics not read", extra={"run": query.run, "error": str(error)})
        return {}


def drift_of(
    query: StepQuery, record: EndpointRecord, look: EndpointLook | None, now: datetime
) -> PredictionDrift | None:
    """Of what both were seen to answer in the step; None where it is not judged or cannot be read.

    Each look at a map that is not read back yet marks how far the collected rows have come: the look that reads it back
    is the step's `since`, and what lies behind its mark is the step's.
    """
    if query.rollout.max_prediction_drift is None or not query.blue:
        return None
    blue = record.live.model if record.live and record.live.name == query.blue else ""
    green = f"{query.model}:{query.version}"
    try:
        if not query.baking:
            _mark(query, now, blue, green)
            return None
        step = _mark(query, query.since, blue, green)
        serves = look is None or bool(look.traffic.get(query.blue))
        of_blue = step if serves else _mark(query, query.began, blue, green)
        return compare(
            collected.predictions(query.endpoint, blue, query.blue, of_blue["blue"]),
            collected.predictions(query.endpoint, green, query.green, step["green"]),
        )
    except AppError as error:
        logger.warning("predictions not read", extra={"run": query.run, "error": str(error)})
        return None


def _mark(query: StepQuery, moment: datetime, blue: str, green: str) -> dict[str, collected.Mark]:
    """How far the rows of both had come at a look. The first word stands."""
    path = f"deployments/{query.run}/collected/{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}.json"
    marked = ledger.read(path)
    if marked is None:
        told = {"blue": collected.mark(query.endpoint, blue), "green": collected.mark(query.endpoint, green)}
        ledger.claim(path, told)
        marked = ledger.read(path)
    return marked or {"blue": {}, "green": {}}


def _command(query: StepQuery) -> tuple[Command, str]:
    """What a person wants, the stronger word first."""
    if ledger.is_cancel_requested(query.run):
        return Command.CANCEL, ""
    if by := approval_records.rollback_requested_by(query.run):
        return Command.ROLL_BACK, by
    decision = _decision(query.run, query.number) if query.number else None
    if decision is None:
        return Command.NONE, ""
    return (
        Command.APPROVE if decision.decision == "approve" else Command.REJECT
    ), decision.name or decision.by


@activity(contracts.RECORD_STEP)
def record_step(evidence: StepEvidence) -> Nothing:
    """What a step of the rollout showed, for ever."""
    endpoint_records.write_step(evidence)
    return Nothing()


@activity(contracts.RECORD_DEPLOYMENT)
def record_deployment(outcome: DeployOutcome) -> Nothing:
    """How the run ended, for ever."""
    endpoint_records.write_outcome(outcome)
    return Nothing()
