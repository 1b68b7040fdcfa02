"""Microsoft.Compute through azure-mgmt-compute: one request a function, bodies as ARM writes them.

Nothing here waits: long operations are begun with `polling=False`, and whoever wants to know looks at the resource.
azure-mgmt-network is not among our dependencies: a machine's NIC is made and removed with the machine, inline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from shared.azure.arm import COMPUTE_API, SKUS_API, Answer, policies, transport
from shared.azure.classify import classified
from shared.azure.credentials import credential
from shared.config import settings


@cache
def client() -> Any:
    """The SDK's client on our own pipeline (see arm.policies)."""
    from azure.mgmt.compute import ComputeManagementClient

    return ComputeManagementClient(
        credential(), settings().subscription_id, policies=policies(), transport=transport()
    )


def get_vm(name: str) -> Answer:
    """The machine with its instance view; `is_missing` if ARM says it is not there."""
    return _looked(client().virtual_machines.get, f"read VM {name}", _group(), name)


def begin_create_vm(name: str, body: Mapping[str, Any]) -> Answer:
    """Create the machine. Raises ConflictError if there is one of that name: it is never changed (If-None-Match: *)."""
    from azure.core import MatchConditions

    return _begun(
        client().virtual_machines.begin_create_or_update,
        f"create VM {name}",
        _group(),
        name,
        body,
        match_condition=MatchConditions.IfMissing,
    )


def begin_deallocate_vm(name: str) -> Answer:
    return _begun(client().virtual_machines.begin_deallocate, f"deallocate VM {name}", _group(), name)


def begin_delete_vm(name: str) -> Answer:
    return _begun(client().virtual_machines.begin_delete, f"delete VM {name}", _group(), name)


def begin_run_command(vm: str, name: str, body: Mapping[str, Any]) -> Answer:
    """Put a managed run command. Putting the same one again does not run the script again."""
    operations = client().virtual_machine_run_commands
    return _begun(
        operations.begin_create_or_update, f"run command {name} on VM {vm}", _group(), vm, name, body
    )


def get_run_command(vm: str, name: str) -> Answer:
    """The run command with its instance view; `is_missing` if it, or its machine, is not there."""
    operations = client().virtual_machine_run_commands
    return _looked(
        operations.get_by_virtual_machine, f"read run command {name} on VM {vm}", _group(), vm, name
    )


def begin_delete_run_command(vm: str, name: str) -> Answer:
    operations = client().virtual_machine_run_commands
    return _begun(operations.begin_delete, f"delete run command {name} on VM {vm}", _group(), vm, name)


def list_usages(region: str) -> list[dict[str, Any]]:
    """Cores used and allowed in a region, per family."""
    with classified(f"list usages of {region}"):
        return [usage.as_dict() for usage in client().usage.list(region, api_version=COMPUTE_API)]


def list_skus(region: str) -> list[dict[str, Any]]:
    """Every size a region knows, with what forbids it to this subscription. Large: ask once per region."""
    with classified(f"list sizes of {region}"):
        found = client().resource_skus.list(filter=f"location eq '{region}'", api_version=SKUS_API)
        return [sku.as_dict() for sku in found]


def _group() -> str:
    return settings().resource_group


def _begun(operation: Callable[..., Any], target: str, *args: Any, **options: Any) -> Answer:
    with classified(target):
        poller = operation(*args, api_version=COMPUTE_API, polling=False, cls=_answer, **options)
        answer: Answer = poller.result()
        return answer


def _looked(operation: Callable[..., Any], target: str, *args: Any) -> Answer:
    """A look's answer, also when it is 404: ARM's time is in its headers all the same."""
    from azure.core.exceptions import ResourceNotFoundError

    with classified(target):
        try:
            answer: Answer = operation(*args, expand="instanceView", api_version=COMPUTE_API, cls=_answer)
        except ResourceNotFoundError as missing:
            if missing.response is None:
                raise
            return Answer(404, missing.response.headers, {})
        return answer


def _answer(pipeline_response: Any, _value: Any, _headers: Any) -> Answer:
    response = pipeline_response.http_response
    body = response.json() if response.text() else {}
    return Answer(response.status_code, response.headers, body)
