"""What workers have in hand. In memory only: after a restart everything unanswered is visible again."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .entities import Operation
from .in_hand import InHand
from .store import ActivityRef
from .suspects import SUSPECT_AFTER
from .turns import Turn

if TYPE_CHECKING:
    from .session import WorkSession

Work = Turn | ActivityRef | list[Operation]


@dataclass(slots=True)
class Lease:
    """One item in a worker's hand. `subject` is an instance key, an activity id or an entity id."""

    token: str
    subject: int | str
    work: Work
    session: WorkSession
    since: float


@dataclass(slots=True)
class Leases:
    """All leases of an open hub, by token; an activity has at most one."""

    _on_record: InHand
    _by_token: dict[str, Lease] = field(default_factory=dict)
    _by_activity: dict[int, Lease] = field(default_factory=dict)
    _suspects: set[str] = field(default_factory=set)  # tokens
    _epoch: str = field(
        default_factory=lambda: secrets.token_hex(4)
    )  # tokens of an earlier process are not ours
    _count: int = 0

    def add(self, kind: str, subject: int | str, work: Work, session: WorkSession, *, deaths: int) -> Lease:
        """Lease `work` to `session`. Tokens start with `kind`; an activity's also says which one it is.

        deaths: how many workers have died over it before.
        """
        self._count += 1
        number = f"{subject}-" if isinstance(work, ActivityRef) else ""
        lease = Lease(f"{kind}-{number}{self._epoch}.{self._count}", subject, work, session, time.monotonic())
        self._by_token[lease.token] = session.in_hand[lease.token] = lease
        if isinstance(work, ActivityRef):
            self._by_activity[work.id] = lease
        else:
            self._on_record.add(subject)
        if deaths >= SUSPECT_AFTER:
            self._suspects.add(lease.token)
        return lease

    def get(self, token: str) -> Lease | None:
        return self._by_token.get(token)

    def of_activity(self, activity_id: int) -> Lease | None:
        return self._by_activity.get(activity_id)

    def remove(self, lease: Lease) -> None:
        self._by_token.pop(lease.token, None)
        lease.session.in_hand.pop(lease.token, None)
        if isinstance(lease.work, ActivityRef):
            self._by_activity.pop(lease.work.id, None)
        else:
            self._on_record.remove(lease.subject)
        self._suspects.discard(lease.token)

    def may_take(self, deaths: int) -> bool:
        """Work over which workers died more than once goes out one at a time.

        A dying worker takes innocent work with it; alone, only the guilty one is counted again.
        """
        return not self._suspects or deaths < SUSPECT_AFTER


def activity_of(token: str) -> int | None:
    """Which activity a token is for, whichever delivery (and process) it is from."""
    kind, _, rest = token.partition("-")
    number = rest.partition("-")[0]
    return int(number) if kind == "a" and number.isdigit() else None
