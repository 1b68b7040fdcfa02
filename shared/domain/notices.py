"""What Muster tells others of its deployments, as events of its own. A notice told twice is one event: same id."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum

from pydantic import JsonValue

from shared.domain.wire import Wire


class NoticeKind(StrEnum):
    """Values are the last word of the event's type."""

    COMPLETED = "Completed"
    ROLLED_BACK = "RolledBack"
    AWAITING_APPROVAL = "AwaitingApproval"
    FROZEN = "Frozen"


class Notice(Wire):
    """Something about a deployment that a person or a program may wait for.

    `about` tells two notices of one kind in one run apart, such as the digests of what two approvals are asked for.
    `model` is `name:version`. `facts` are small, and nothing secret is among them: whoever subscribes reads them.
    """

    kind: NoticeKind
    run: str
    endpoint: str
    workload: str = ""
    model: str = ""
    reason: str = ""
    about: str = ""
    at: datetime
    facts: dict[str, JsonValue] = {}

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.run}|{self.kind}|{self.about}".encode()).hexdigest()[:32]

    @property
    def type(self) -> str:
        return f"Muster.Deployment.{self.kind}"

    @property
    def subject(self) -> str:
        return f"deployments/{self.run}"

    def data(self) -> dict[str, JsonValue]:
        """The event's data, in the casing that Azure's own events have."""
        told = {"run": self.run, "endpoint": self.endpoint, "workload": self.workload, "model": self.model}
        return {**told, "reason": self.reason, "causedBy": f"muster {self.run}", **self.facts}


class Told(Wire):
    """Whether a notice was sent; `note` says why not."""

    sent: bool
    note: str = ""
