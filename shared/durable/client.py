"""Starting and asking after orchestrations: the only caller of the durable client, in the subset that 1.7.0 has too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import azure.durable_functions as df

from shared.domain.report import InstanceLook, read_look
from shared.domain.wire import Wire
from shared.durable import wire
from shared.durable.contracts import Step
from shared.durable.flow import CANCEL_EVENT, WAKE_EVENT


class Orchestrations:
    """The task hub, in our words."""

    def __init__(self, client: df.DurableOrchestrationClient) -> None:
        self._client = client

    async def start[I: Wire, O: Wire](self, step: Step[I, O], request: I, instance_id: str) -> None:
        """Start an instance, unless one of that id is at work. One that is over would start again: an id is no lock."""
        try:
            await self._client.start_new(step.name, instance_id, wire.to_wire(request))
        except (
            Exception
        ):  # each SDK says "there is one" in a type of its own: what counts is whether there is
            look = await self.look(instance_id)
            if look is None or look.is_over:
                raise

    async def look(self, instance_id: str) -> InstanceLook | None:
        """One instance, or None if the hub does not know it."""
        status = await self._client.get_status(instance_id)
        if not status or status.runtime_status is None:
            return None
        return _look(status)

    async def look_all(self, instance_ids: Iterable[str]) -> list[InstanceLook]:
        looks = await asyncio.gather(*(self.look(i) for i in instance_ids))
        return [look for look in looks if look]

    async def list_at_work(self, *steps: Step[Any, Any]) -> list[InstanceLook]:
        """Every instance of these orchestrators that is not over."""
        names = {step.name for step in steps}
        return [_look(s) for s in await self._unfinished() if s.name in names]

    async def list(self, *steps: Step[Any, Any]) -> list[InstanceLook]:
        """Every instance of these orchestrators, newest first."""
        statuses = await self._client.get_status_all()
        names = {step.name for step in steps}
        looks = [_look(s) for s in statuses if s.name in names]
        return sorted(looks, key=lambda look: look.created or datetime.min.replace(tzinfo=UTC), reverse=True)

    async def wake_to_cancel(self, run: str, reason: str) -> None:
        """Wake the run's children that wait: they see the cancellation on record now and not at their next look."""
        for status in await self._unfinished():
            if str(status.instance_id).startswith(f"{run}."):
                await self._client.raise_event(status.instance_id, CANCEL_EVENT, reason)

    async def wake(self, run: str) -> None:
        """Have a run look at its records now and not at its next look. One that is over, or not there, hears nothing."""
        look = await self.look(run)
        if look is not None and not look.is_over:
            await self._client.raise_event(run, WAKE_EVENT, "")

    async def _unfinished(self) -> Sequence[df.DurableOrchestrationStatus]:
        states = df.OrchestrationRuntimeStatus
        unfinished = [states.Pending, states.Running, states.ContinuedAsNew, states.Suspended]
        found: Sequence[df.DurableOrchestrationStatus] = await self._client.get_status_by(
            runtime_status=unfinished
        )
        return found


def _look(status: df.DurableOrchestrationStatus) -> InstanceLook:
    return read_look(
        status.instance_id,
        status.name,
        runtime=status.runtime_status.name,
        custom=status.custom_status,
        output=status.output,
        created=_aware(status.created_time),
        updated=_aware(status.last_updated_time),
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
