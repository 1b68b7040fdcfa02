"""Long operations: begun by one request, ended by a step at a virtual moment, looked at through their own URL.

Source: azure-resource-manager-rpc v1.0/async-api-reference.md. An operation stays readable after its end.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from localdev.azuresim.errors import error_object
from localdev.azuresim.events import Events, iso
from localdev.azuresim.faults import Fault
from localdev.azuresim.scheduler import Scheduler

if TYPE_CHECKING:  # routing answers with operations
    from localdev.azuresim.routing import Call
    from localdev.azuresim.store import Resource


@dataclass
class Operation:
    id: str
    action: str  # ARM's operation name, such as Microsoft.Compute/virtualMachines/write
    resource_id: str
    location: str
    subscription: str
    api_version: str
    started: float
    poll_after_s: float
    status: str = "InProgress"
    ended: float | None = None
    error: dict[str, Any] | None = None
    result: Any = None  # what its Location answers in the end, if it has a result of its own
    kinds: list[str] = field(
        default_factory=lambda: ["operations", "operationResults"]
    )  # segments of its two URLs

    @property
    def is_running(self) -> bool:
        return self.status == "InProgress"

    def path(self) -> str:
        return self._path(self.kinds[0])

    def result_path(self) -> str:
        return self._path(self.kinds[1])

    def _path(self, kind: str) -> str:
        namespace = self.action.partition("/")[0]
        scope = f"/subscriptions/{self.subscription}/providers/{namespace}/locations/{self.location}"
        return f"{scope}/{kind}/{self.id}"

    def view(self) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.id, "status": self.status, "startTime": iso(self.started)}
        if self.ended is not None:
            body["endTime"] = iso(self.ended)
        if self.error:
            body["error"] = self.error
        return body


class Operations:
    def __init__(self, scheduler: Scheduler, events: Events) -> None:
        self._scheduler, self._events = scheduler, events
        self._operations: dict[str, Operation] = {}
        self.when_failed: Callable[[Operation, float], None] = lambda operation, at: None
        scheduler.register("operation.fail", self._fail_later)

    def begin_for(self, call: Call, resource: Resource, *, poll_after_s: float) -> Operation:
        """The operation that a request begins on a resource."""
        return self.begin(
            call.action,
            resource.id,
            location=resource.location,
            api_version=call.api_version,
            at=call.at,
            poll_after_s=poll_after_s,
        )

    def begin(
        self,
        action: str,
        resource_id: str,
        *,
        location: str,
        api_version: str,
        at: float,
        poll_after_s: float,
    ) -> Operation:
        operation = Operation(
            str(uuid.uuid4()),
            action,
            resource_id,
            location,
            resource_id.split("/")[2],
            api_version,
            at,
            poll_after_s,
        )
        self._operations[operation.id] = operation
        return operation

    def then(
        self, operation: Operation, fault: Fault | None, after_s: float, step: str, **payload: Any
    ) -> None:
        """End `operation` by `step`, `after_s` virtual seconds from its start, unless a fault has it otherwise."""
        if fault and fault.kind == "stuck":
            return
        late_s = fault.seconds if fault and fault.kind == "delay" else 0.0
        moment = operation.started + after_s + late_s
        if fault and fault.kind == "async_failure":
            self._scheduler.at(
                moment,
                "operation.fail",
                operation=operation.id,
                error=fault.error(),
                status=fault.async_status,
            )
            return
        self._scheduler.at(moment, step, operation=operation.id, **payload)

    def get(self, id_: str) -> Operation | None:
        return self._operations.get(id_.casefold())

    def running(self, resource_id: str) -> list[Operation]:
        wanted = resource_id.casefold()
        return [
            each
            for each in self._operations.values()
            if each.is_running and each.resource_id.casefold() == wanted
        ]

    def is_running(self, id_: str) -> bool:
        found = self.get(id_)
        return found is not None and found.is_running

    def succeed(self, id_: str, at: float, result: Any = None) -> None:
        self._end(id_, at, "Succeeded", result=result)

    def fail(self, id_: str, at: float, error: dict[str, Any], status: str = "Failed") -> None:
        self._end(id_, at, status, error=error)

    def preempt(self, resource_id: str, at: float) -> None:
        """A newer operation on the resource ends the ones under way."""
        error = error_object(
            "OperationPreempted", "The operation has been preempted by a more recent operation"
        )
        for operation in self.running(resource_id):
            self.fail(operation.id, at, error, "Canceled")

    def _fail_later(self, at: float, operation: str, error: dict[str, Any], status: str) -> None:
        found = self.get(operation)
        if found is None or not found.is_running:
            return
        self._end(operation, at, status, error=error)
        self.when_failed(found, at)

    def _end(
        self, id_: str, at: float, status: str, *, error: dict[str, Any] | None = None, result: Any = None
    ) -> None:
        operation = self._operations[id_.casefold()]
        if not operation.is_running:
            return
        operation.status, operation.ended, operation.error, operation.result = status, at, error, result
        self._events.add(
            "operation",
            at,
            operation=operation.action,
            resource_id=operation.resource_id,
            operation_id=operation.id,
            status=status,
            error=error,
        )

    def dump(self) -> list[dict[str, Any]]:
        return [asdict(operation) for operation in self._operations.values()]

    def load(self, state: list[dict[str, Any]]) -> None:
        self._operations = {item["id"].casefold(): Operation(**item) for item in state}
