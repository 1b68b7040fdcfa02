"""How a run of any kind ends: on record, with its cost, whatever happened before."""

from __future__ import annotations

from shared.domain.cost import RunCost
from shared.domain.deploy import DeployOutcome
from shared.domain.drift import DriftOutcome
from shared.domain.retrain import RetrainOutcome
from shared.domain.scoring import RunOutcome
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.contracts import Nothing, Step
from shared.durable.flow import Flow, Steps


def conclude[O: (RunOutcome, RetrainOutcome, DriftOutcome, DeployOutcome)](
    flow: Flow, trail: AuditTrail, outcome: O, record: Step[O, Nothing]
) -> Steps[O]:
    """Record the cost, close the run's chain of audit records, then record the outcome that names the chain's head."""
    yield from flow.call(contracts.RECORD_COST, RunCost.of(outcome.run, outcome.charges))
    yield from trail.write("run ended", outcome.run, why=outcome.reason, after=outcome.state)
    ended = outcome.model_copy(update={"ended": flow.now, "audit_head": trail.head})
    yield from flow.call(record, ended)
    notes = () if isinstance(ended, DeployOutcome) else ended.offers
    flow.status(ended.state, spent_usd=ended.usd, notes=notes)
    return ended
