"""An orchestration's own chain of audit records: each names the hash of the one before it."""

from __future__ import annotations

from shared.domain.audit import GENESIS, AuditEntry
from shared.durable import contracts
from shared.durable.flow import Flow, Steps


class AuditTrail:
    """Writes records in order, at the orchestration's time. A chain is named for its orchestration, unless told else."""

    def __init__(self, flow: Flow, who: str, *, chain: str = "") -> None:
        self._flow = flow
        self._chain = chain or flow.instance_id
        self._who = who
        self._seq = 0
        self.head = GENESIS

    def write(
        self, what: str, target: str, *, why: str = "", before: str = "", after: str = "", who: str = ""
    ) -> Steps[None]:
        """One record more. `who`: the person whose doing it is, where that is not the one who started the run."""
        self._seq += 1
        entry = AuditEntry(
            chain=self._chain, seq=self._seq, prev=self.head, at=self._flow.now,
            who=who or self._who, what=what, target=target, why=why, before=before, after=after,
        )  # fmt: skip
        link = yield from self._flow.call(contracts.AUDIT, entry)
        self.head = link.digest
