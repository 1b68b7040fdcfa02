"""Microsoft's own SDKs, unchanged, in a simulated Azure: no endpoint, no fake credential, no switched-off check."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim import Control, Simulator
from localdev.clock import Clock
from tests.azuresim.azure_client import COMPUTE, vm_body

GROUP = "muster-burn"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A cloud with storage where a minute passes in a third of a second; the environment leads there."""
    clock = Clock.create(tmp_path_factory.mktemp("clock") / "clock.json", speed=200)
    before = dict(os.environ)
    with Simulator(clock=clock) as simulator:
        os.environ.update(simulator.env)
        yield Control(simulator.control_url)
        os.environ.clear()
        os.environ.update(before)


def compute_client() -> Any:
    from azure.identity import DefaultAzureCredential
    from azure.mgmt.compute import ComputeManagementClient

    return ComputeManagementClient(DefaultAzureCredential(), os.environ["MUSTER_SUBSCRIPTION_ID"])


def containers() -> Any:
    from azure.identity import ManagedIdentityCredential
    from azure.storage.blob import BlobServiceClient

    credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
    return BlobServiceClient(os.environ["MUSTER_STORAGE_ACCOUNT_URL"], credential)


_UPLOAD = """
python3 - <<'END'
import os
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobClient
me = ManagedIdentityCredential(client_id=os.environ["CLIENT_ID"])
BlobClient(os.environ["ACCOUNT"], "results", "from-the-machine", credential=me).upload_blob(b"scored")
print("uploaded")
END
"""


def test_a_machine_is_made_works_and_is_gone(cloud: Control) -> None:
    containers().create_container("results")
    machines, commands = compute_client().virtual_machines, compute_client().virtual_machine_run_commands
    body = vm_body(dict(os.environ), "sdk")
    vm = machines.begin_create_or_update(GROUP, "sdk", body, api_version=COMPUTE).result()
    assert vm.provisioning_state == "Succeeded"

    parameters = [
        {"name": "CLIENT_ID", "value": os.environ["MUSTER_VM_IDENTITY_CLIENT_ID"]},
        {"name": "ACCOUNT", "value": os.environ["MUSTER_STORAGE_ACCOUNT_URL"]},
    ]
    command = {
        "location": "westeurope",
        "properties": {"source": {"script": _UPLOAD}, "parameters": parameters},
    }
    commands.begin_create_or_update(GROUP, "sdk", "job", command, api_version=COMPUTE).result()
    run = commands.get_by_virtual_machine(GROUP, "sdk", "job", expand="instanceView", api_version=COMPUTE)
    assert (run.instance_view.exit_code, run.instance_view.output) == (0, "uploaded\n"), (
        run.instance_view.error
    )

    machines.begin_deallocate(GROUP, "sdk", api_version=COMPUTE).result()
    view = machines.instance_view(GROUP, "sdk", api_version=COMPUTE)
    assert [status.code for status in view.statuses] == [
        "ProvisioningState/succeeded",
        "PowerState/deallocated",
    ]
    machines.begin_delete(GROUP, "sdk", api_version=COMPUTE).result()
    assert list(machines.list(GROUP, api_version=COMPUTE)) == []
    assert all(line["ended"] for line in cloud.bill()["lines"])
    assert containers().get_blob_client("results", "from-the-machine").download_blob().readall() == b"scored"


def test_the_sdks_own_newest_versions_are_served(cloud: Control) -> None:
    client = compute_client()
    assert client.usage.list("westeurope").next().limit >= 0
    assert any(
        sku.name == "Standard_D4s_v5" for sku in client.resource_skus.list(filter="location eq 'westeurope'")
    )
    assert list(client.virtual_machines.list_all()) == []
    disk = {
        "location": "westeurope",
        "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 32},
    }
    made = client.disks.begin_create_or_update(GROUP, "data", disk).result()
    assert made.provisioning_state == "Succeeded"
    client.disks.begin_delete(GROUP, "data").result()
    assert list(client.disks.list()) == []


def test_refusals_arrive_as_the_sdks_exceptions(cloud: Control) -> None:
    from azure.core import MatchConditions
    from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

    machines = compute_client().virtual_machines
    with pytest.raises(ResourceNotFoundError) as missing:
        machines.get(GROUP, "none", api_version=COMPUTE)
    assert missing.value.error.code == "ResourceNotFound"
    cloud.add_faults({"preset": "sku-not-available"})
    with pytest.raises(HttpResponseError) as refused:
        machines.begin_create_or_update(
            GROUP,
            "x",
            vm_body(dict(os.environ), "x"),
            api_version=COMPUTE,
            etag="*",
            match_condition=MatchConditions.IfMissing,
        )
    assert (refused.value.status_code, refused.value.error.code) == (409, "SkuNotAvailable")
    assert "Standard_D2s_v5" in refused.value.error.message


def test_blobs_keep_their_conditions(cloud: Control) -> None:
    from azure.core.exceptions import ResourceExistsError

    container = containers().create_container("conditions")
    container.upload_blob("once", b"1")
    with pytest.raises(ResourceExistsError):
        container.upload_blob("once", b"2")
    assert [blob.name for blob in container.list_blobs()] == ["once"]


def test_a_host_without_a_simulator_behind_it_is_out_of_reach(cloud: Control, tmp_path: Path) -> None:
    from azure.core.exceptions import ServiceRequestError
    from azure.identity import ManagedIdentityCredential
    from azure.storage.blob import BlobServiceClient

    foreign = BlobServiceClient(
        "https://somebodyelse.blob.core.windows.net", ManagedIdentityCredential(), retry_total=0
    )
    with pytest.raises(ServiceRequestError):
        list(foreign.list_containers())
    assert "somebodyelse.blob.core.windows.net:443" in {
        e["target"] for e in cloud.events(type_="proxy_refused")
    }
