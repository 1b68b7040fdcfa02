"""Managed run commands (`virtualMachines/runCommands`) and the older action `virtualMachines/runCommand`.

Sources: runCommand.json 2024-07-01; learn.microsoft.com virtual-machines/linux/run-command-managed and run-command;
Azure/run-command-handler-linux (see executor.py). `provisioningState` says whether the script was got to run, the
instance view how it went.
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.compute.lifecycle import VIRTUAL_MACHINES
from localdev.azuresim.compute.scripts import Scripts
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.compute.virtual_machines import COLLECTION, VERSIONS
from localdev.azuresim.errors import (
    ArmError,
    conflict,
    error_object,
    invalid_parameter,
    not_found,
    parent_not_found,
)
from localdev.azuresim.executor import Parameter
from localdev.azuresim.faults import Fault
from localdev.azuresim.operations import Operation
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import ANY, NOT_SIMULATED, READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

TYPE = f"{VIRTUAL_MACHINES}/runCommands"
ACTION_TYPE = f"{VIRTUAL_MACHINES}/runCommand"
_START_S, _ACTION_S, _AGENT_PAUSE_S, _DELETE_S = 3.0, 20.0, 5.0, 3.0
_TIMEOUT_S = 90 * 60.0
_PARAMETERS = [members("name", "value")]
_SHAPE = {
    **members("location", "tags", *READ_ONLY),
    "properties": {
        "source": {
            "script": ANY,
            **dict.fromkeys(("scriptUri", "commandId", "scriptUriManagedIdentity"), NOT_SIMULATED),
        },
        "parameters": _PARAMETERS,
        "protectedParameters": _PARAMETERS,
        **members("asyncExecution", "timeoutInSeconds", "treatFailureAsDeploymentFailure"),
        **members("provisioningState", "instanceView"),
        **dict.fromkeys(("runAsUser", "runAsPassword", "outputBlobUri", "errorBlobUri"), NOT_SIMULATED),
        **dict.fromkeys(("outputBlobManagedIdentity", "errorBlobManagedIdentity"), NOT_SIMULATED),
    },
}
_ACTION_SHAPE = {"commandId": ANY, "script": ANY, "parameters": _PARAMETERS}


class RunCommands:
    def __init__(self, world: World) -> None:
        self._world = world
        self.scripts = Scripts(world)
        self.scripts.on_end(TYPE, self._command_ended)
        self.scripts.on_end(ACTION_TYPE, self._action_ended)
        world.scheduler.register("run.start", self._start)
        world.scheduler.register("run.deleted", self._deleted)
        world.scheduler.register("run.action_over", self._action_over)

    def routes(self) -> list[Route]:
        commands = f"{COLLECTION}/{{vm}}/runCommands"
        one, action = f"{commands}/{{run}}", f"{ACTION_TYPE}/action"
        return [
            Route("GET", commands, f"{TYPE}/read", self.list, VERSIONS),
            Route("GET", one, f"{TYPE}/read", self.get, VERSIONS),
            Route("PUT", one, f"{TYPE}/write", self.put, VERSIONS),
            Route("DELETE", one, f"{TYPE}/delete", self.delete, VERSIONS),
            Route("POST", f"{COLLECTION}/{{vm}}/runCommand", action, self.act, VERSIONS, is_action=True),
        ]

    def put(self, call: Call) -> Reply:
        vm = self._ready_machine(call)
        body = call.document()
        check(body, _SHAPE, "RunCommand")
        location = required_location(body, TYPE)
        check_tags(body.get("tags"))
        spec = dict(body.get("properties") or {})
        if not isinstance((spec.get("source") or {}).get("script"), str):
            raise invalid_parameter("Required parameter 'source.script' is missing (null).", "source")
        secrets = spec.pop("protectedParameters", None) or []
        for name in ("provisioningState", "instanceView"):
            spec.pop(name, None)
        asked = {"spec": spec, "secrets": secrets}
        found = self._world.store.get(call.resource_id)
        if found and found.provisioning_state in ("Creating", "Updating", "Deleting"):
            raise conflict()
        if found and found.state["asked"] == asked and found.provisioning_state == "Succeeded":
            found.tags = dict(body.get("tags") or {})
            return Reply(200, self._view(found))
        return self._begin(call, vm, location, body, asked, found)

    def get(self, call: Call) -> Reply:
        self._machine(call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise not_found(call.resource_id)
        return Reply(200, self._view(found, instance_view=_wants_instance_view(call)))

    def list(self, call: Call) -> Reply:
        vm = self._machine(call)
        found = self._world.store.of_type(TYPE, vm.id)
        return Reply(
            200, {"value": [self._view(each, instance_view=_wants_instance_view(call)) for each in found]}
        )

    def delete(self, call: Call) -> Reply:
        """Ends the script if it still runs (learn: run-command-managed, "terminates the script")."""
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(204)
        self._world.operations.preempt(found.id, call.at)
        self.scripts.stop(found, call.at)
        found.properties["provisioningState"] = "Deleting"
        operation = self._operation(call, found)
        self._world.operations.then(operation, call.fault, _DELETE_S, "run.deleted", run=found.id)
        return Reply(202, operation=operation)

    def act(self, call: Call) -> Reply:
        """`POST .../runCommand`: one at a time, its result is what the operation's Location answers."""
        vm = self._ready_machine(call)
        body = call.document()
        check(body, _ACTION_SHAPE, "RunCommandInput")
        if body.get("commandId") != "RunShellScript":
            raise invalid_parameter(f"The entity {body.get('commandId')} was not found.", "commandId")
        script_id = f"{vm.id}/runCommand/action"
        if self._world.store.get(script_id):
            raise ArmError(
                409,
                "Conflict",
                "Run command extension execution is in progress. Please wait for completion before invoking a run "
                "command.",
            )
        operation = self._operation(call, vm)
        owner = Resource(
            script_id, ACTION_TYPE, vm.location, call.at, call.at, state={"operation": operation.id}
        )
        script = "\n".join(body.get("script") or []) + "\n"
        owner.state["asked"] = {
            "spec": {"source": {"script": script}, "parameters": body.get("parameters") or []},
            "secrets": [],
        }
        self._world.store.put(owner)
        self._plan(owner, operation, call.fault)
        return Reply(202, operation=operation)

    def _begin(
        self,
        call: Call,
        vm: Resource,
        location: str,
        body: dict[str, Any],
        asked: dict[str, Any],
        found: Resource | None,
    ) -> Reply:
        status = 200 if found else 201
        run = found or Resource(call.resource_id, TYPE, location, call.at, call.at)
        if found:
            self.scripts.stop(found, call.at)
            self._world.store.touch(found, call.at)
        run.id = found.id if found else f"{vm.id}/runCommands/{call.params['run']}"
        run.tags = dict(body.get("tags") or {})
        run.properties = {**asked["spec"], "provisioningState": "Updating" if found else "Creating"}
        operation = self._operation(call, run)
        run.state = {"asked": asked, "operation": operation.id}
        self._world.store.put(run)
        self._plan(run, operation, call.fault)
        return Reply(status, self._view(run), operation=operation)

    def _plan(self, run: Resource, operation: Operation, fault: Fault | None) -> None:
        run.state["fault"] = None
        if fault and fault.kind in ("script_fails", "script_hangs"):
            run.state["fault"] = {
                "kind": fault.kind,
                "operation": fault.operation,
                "exit_code": fault.exit_code,
            }
        self._world.operations.then(operation, fault, _START_S, "run.start", run=run.id)

    def _start(self, at: float, run: str, operation: str) -> None:
        found = self._world.store.get(run)
        if found is None or not self._world.operations.is_running(operation):
            return
        vm = self._world.store.get(run.partition("/runCommand")[0])
        if vm is None or vm.state["power"] != "running":
            error = error_object("VMNotRunning", "The VM stopped before its agent could run the command.")
            found.properties["provisioningState"] = "Failed"
            self._world.operations.fail(operation, at, error)
            return
        if not vm.state["agent"]:
            self._world.scheduler.at(at + _AGENT_PAUSE_S, "run.start", run=run, operation=operation)
            return
        spec, saved = found.state["asked"]["spec"], found.state["fault"]
        if spec.get("asyncExecution"):
            self._provisioned(found, at)
        self.scripts.start(
            found,
            vm.properties["vmId"],
            spec["source"]["script"],
            _pairs(spec.get("parameters")),
            _pairs(found.state["asked"]["secrets"]),
            timeout_s=float(spec.get("timeoutInSeconds") or _TIMEOUT_S),
            at=at,
            fault=Fault(**saved) if saved else None,
        )

    def _command_ended(self, run: Resource, at: float) -> None:
        spec, story = run.state["asked"]["spec"], run.state["script"]
        operation = run.state["operation"]
        if not self._world.operations.is_running(operation):
            return
        if spec.get("treatFailureAsDeploymentFailure") and story["state"] != "Succeeded":
            run.properties["provisioningState"] = "Failed"
            message = (
                f"VM has reported a failure when processing run command '{run.name}': {story['message']}"
            )
            self._world.operations.fail(operation, at, error_object("VMExtensionProvisioningError", message))
            return
        self._provisioned(run, at)

    def _provisioned(self, run: Resource, at: float) -> None:
        run.properties["provisioningState"] = "Succeeded"
        self._world.operations.succeed(run.state["operation"], at)

    def _action_ended(self, run: Resource, at: float) -> None:
        """The agent's report takes its time to arrive: nothing comes back in under twenty seconds."""
        started = run.state["script"]["started"] - _START_S
        self._world.scheduler.at(max(at, started + _ACTION_S), "run.action_over", run=run.id)

    def _action_over(self, at: float, run: str) -> None:
        found = self._world.store.remove(run)
        if found is None:
            return
        story = found.state["script"]
        status = {
            "code": "ProvisioningState/succeeded",
            "level": "Info",
            "displayStatus": "Provisioning succeeded",
            "message": f"Enable succeeded: \n[stdout]\n{story['output']}\n[stderr]\n{story['error']}",
        }
        self._world.operations.succeed(found.state["operation"], at, {"value": [status]})

    def _deleted(self, at: float, run: str, operation: str) -> None:
        if self._world.operations.is_running(operation):
            self._world.store.remove(run)
            self._world.operations.succeed(operation, at)

    def _machine(self, call: Call) -> Resource:
        id_ = call.resource_id.partition("/runCommands")[0]
        vm = self._world.store.get(id_)
        if vm is None:
            verb = "read" if call.method == "GET" else "write"
            raise parent_not_found(id_, TYPE, verb) if "/runCommands" in call.resource_id else not_found(id_)
        return vm

    def _ready_machine(self, call: Call) -> Resource:
        vm = self._machine(call)
        if vm.provisioning_state == "Deleting":
            raise ArmError(
                409,
                "OperationNotAllowed",
                f"Operation '{call.action}' is not allowed on VM '{vm.name}' since the VM is marked for deletion. You "
                "can only retry the Delete operation (or wait for an ongoing one to complete).",
            )
        if vm.state["power"] not in ("creating", "starting", "running"):
            raise ArmError(
                409, "OperationNotAllowed", "Cannot modify extensions in the VM when the VM is not running."
            )
        if vm.provisioning_state in ("Creating", "Updating"):
            raise conflict()
        return vm

    def _operation(self, call: Call, resource: Resource) -> Operation:
        return self._world.operations.begin_for(call, resource, poll_after_s=_START_S)

    def _view(self, run: Resource, *, instance_view: bool = False) -> dict[str, Any]:
        body = run.envelope()
        if instance_view:
            body["properties"]["instanceView"] = self.scripts.view(run)
        return body


def _wants_instance_view(call: Call) -> bool:
    expand = call.query.get("$expand", "")
    if expand and expand.casefold() != "instanceview":
        raise invalid_parameter(f"The value '{expand}' of parameter '$expand' is invalid.", "$expand")
    return bool(expand)


def _pairs(parameters: list[dict[str, str]] | None) -> list[Parameter]:
    return [(str(each.get("name") or ""), str(each.get("value") or "")) for each in parameters or ()]
