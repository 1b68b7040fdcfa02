"""A deployment as a person wants to see it: what the hub says of the run, and the run's own records."""

from __future__ import annotations

from typing import Any

import azure.functions as func

from shared.azure import approval_records, endpoint_records, ledger
from shared.domain.deploy import ApprovalRequest, DeployOutcome, DeployRequest, EndpointRecord
from shared.domain.report import InstanceLook, build_report
from shared.domain.status import RunStatus

_WAITS = ("approve", "reject", "cancel", "rollback")


def links(req: func.HttpRequest, run: str) -> dict[str, str]:
    """Where a deployment is looked at, decided about, and taken back. They take the caller's own key."""
    base = req.url.split("?", 1)[0].split("/deployments", 1)[0].split("/runs", 1)[0]
    one = f"{base}/deployments/{run}"
    return {"status": one, **{what: f"{one}/{what}" for what in _WAITS}}


def brief(look: InstanceLook) -> dict[str, Any]:
    """A deployment's line in a list, besides what every run's has."""
    outcome = look.outcome if isinstance(look.outcome, DeployOutcome) else None
    asked = None if outcome else _request(look.id)
    return {
        "endpoint": outcome.endpoint if outcome else asked.endpoint if asked else "",
        "model": _model(outcome, asked),
        "weights": outcome.weights if outcome else look.status.weights if look.status else {},
        "waiting_for": look.status.waiting_for if look.status and not look.is_over else "",
    }


def whole(look: InstanceLook, child: InstanceLook | None = None) -> dict[str, Any]:
    """Everything on record about a deployment, the newest last. `lines`: what tests and steps have shown so far.

    `child`: what converts its model, if that was ever begun; while it is at work, it is what the run waits for.
    """
    run = look.id
    asked = _request(run)
    outcome = look.outcome if isinstance(look.outcome, DeployOutcome) else None
    status = look.status or RunStatus(phase=look.runtime)
    endpoint = outcome.endpoint if outcome else asked.endpoint if asked else ""
    record = endpoint_records.read(endpoint) if endpoint else None
    at_work = child if child and not child.is_over else look
    report = build_report(look, [at_work], ()).model_dump(mode="json")
    for plain in ("items", "items_done", "items_total", "rows", "quarantined"):
        report.pop(plain)
    return {
        **report,
        "over": look.is_over,
        "endpoint": endpoint,
        "platform": outcome.platform if outcome else asked.platform if asked else "",
        "workload": asked.workload.name if asked else outcome.workload if outcome else "",
        "model": _model(outcome, asked),
        "requested_by": asked.started_by if asked and asked.run == run else "",
        "reason": asked.reason if asked and asked.run == run else "",
        "cause": asked.cause if asked else "",
        "percent": report["percent"] if look.is_over else status.percent,
        "weights": outcome.weights if outcome else status.weights,
        "lines": list(outcome.steps if outcome else status.rows),
        "steps": _steps(run),
        "conversion": _conversion(run, outcome),
        "profile": ledger.read(f"deployments/{run}/profile.json") or {},
        "tests": _tests(run),
        "approval": _approvals(run),
        "held": _held(record, run) if record else {},
    }


def _request(run: str) -> DeployRequest | None:
    """What was asked for; of a roll back, that of the deployment which it takes back."""
    claim = ledger.read(f"claims/{run.removeprefix('rollback-')}.json")
    return DeployRequest.model_validate(claim["request"]) if claim else None


def _model(outcome: DeployOutcome | None, asked: DeployRequest | None) -> str:
    if outcome and outcome.model:
        return outcome.model
    return f"{asked.model.name}:{asked.version}" if asked else ""


def _conversion(run: str, outcome: DeployOutcome | None) -> dict[str, Any]:
    """What was found of the converted model, and whether it is served; nothing where none was declared."""
    if outcome and outcome.conversion:
        return outcome.conversion.model_dump(mode="json")
    return ledger.read(f"deployments/{run}/conversion.json") or {}


def _steps(run: str) -> list[dict[str, Any]]:
    """What each step showed, with its verdict's rows, in the order of the steps."""
    prefix = f"deployments/{run}/steps/"
    names = (path.removeprefix(prefix).removesuffix(".json") for path in ledger.list_paths(prefix))
    found = (ledger.read(f"{prefix}{n}.json") for n in sorted((n for n in names if n.isdecimal()), key=int))
    return [step for step in found if step]


def _tests(run: str) -> list[dict[str, Any]]:
    """The reports of the tests before traffic, with every row, in the order of their names."""
    prefix = f"deployments/{run}/probes/"
    paths = [path for path in ledger.list_paths(prefix) if "/" not in path.removeprefix(prefix)]
    found = (ledger.read(path) for path in paths)
    return [{**test["report"], "rows": test.get("rows", [])} for test in found if test]


def _approvals(run: str) -> dict[str, Any]:
    """What a person is asked now, with the digest to send, and what was decided."""
    asked = approval_records.newest_request(run)
    if asked is None:
        return {}
    decision = approval_records.read_decision(run, asked.number)
    return {
        "digest": asked.digest,
        "asked": _shown(asked),
        "decision": decision.model_dump(mode="json") if decision else None,
    }


def _shown(asked: ApprovalRequest) -> dict[str, Any]:
    return asked.model_dump(mode="json", exclude={"requested_by"})


def _held(record: EndpointRecord, run: str) -> dict[str, Any]:
    """How its endpoint stands: who holds it, what is live, what could be gone back to and until when."""
    told = record.model_dump(
        mode="json",
        include={"holder", "epoch", "live", "previous", "hold_until", "frozen", "commands", "last_good"},
    )
    return {**told, "by_this_run": run in (record.holder, record.held_for)}
