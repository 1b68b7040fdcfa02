"""What people are asked about a deployment, and what they say. Each record is written once: the first word counts.

deployments/{run}/approval-request.json   what is asked before green has traffic
deployments/{run}/approval.json           the decision about it
deployments/{run}/resume/{n}-request.json what is asked at the n-th pause of a rollout, from 1 on
deployments/{run}/resume/{n}.json         the decision about it
deployments/{run}/rollback.json           somebody wants the rollout taken back while it is under way
"""

from __future__ import annotations

from datetime import datetime

from shared.azure import ledger
from shared.domain.deploy import Approval, ApprovalRequest


def ask(request: ApprovalRequest) -> bool:
    """Put on record what a person is asked. True if this call did; asked again the same, nothing changes.

    Raises ConflictError if something else was asked under this number.
    """
    told = {**request.model_dump(mode="json"), "digest": request.digest}
    return ledger.create(_request_path(request.run, request.number), told)


def read_request(run: str, number: int = 0) -> ApprovalRequest | None:
    found = ledger.read(_request_path(run, number))
    return ApprovalRequest.model_validate(found) if found else None


def newest_request(run: str) -> ApprovalRequest | None:
    """What was asked last: at the last pause, or before green had traffic."""
    paths = ledger.list_paths(_folder(run, "resume/"))
    names = (path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths)
    numbers = [int(name.removesuffix("-request")) for name in names if name.endswith("-request")]
    return read_request(run, max(numbers, default=0))


def decide(run: str, number: int, approval: Approval) -> bool:
    """Put a decision on record. True for the one caller whose word it is; nobody's word changes another's."""
    return ledger.claim(_decision_path(run, number), approval)


def read_decision(run: str, number: int = 0) -> Approval | None:
    found = ledger.read(_decision_path(run, number))
    return Approval.model_validate(found) if found else None


def request_rollback(run: str, *, who: str, reason: str, at: datetime) -> None:
    """Put it on record that the rollout shall be taken back. The first request stands."""
    ledger.claim(_folder(run, "rollback.json"), {"who": who, "reason": reason, "at": at.isoformat()})


def rollback_requested_by(run: str) -> str:
    """Who asked for the rollout to be taken back; "" if nobody did."""
    found = ledger.read(_folder(run, "rollback.json"))
    return str(found["who"]) if found else ""


def _folder(run: str, name: str) -> str:
    return f"deployments/{run}/{name}"


def _request_path(run: str, number: int) -> str:
    return _folder(run, f"resume/{number}-request.json" if number else "approval-request.json")


def _decision_path(run: str, number: int) -> str:
    return _folder(run, f"resume/{number}.json" if number else "approval.json")
