"""The app's settings, read once from the environment. Adding one: here, infra, README, together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from getpass import getuser
from pathlib import Path

from shared.domain.errors import AppError, SpecError

_REQUIRED = {
    "MUSTER_SUBSCRIPTION_ID": "the subscription that holds the machines",
    "MUSTER_RESOURCE_GROUP": "the one resource group dedicated to machines",
    "MUSTER_LOCATION": "the default region, for example westeurope",
    "MUSTER_STORAGE_ACCOUNT_URL": "https://ACCOUNT.blob.core.windows.net",
    "MUSTER_SUBNET_ID": "ARM id of the machines' subnet, or REGION=ID,REGION=ID",
    "MUSTER_VM_IDENTITY_ID": "ARM id of the user-assigned identity that machines get",
    "MUSTER_VM_IDENTITY_CLIENT_ID": "client id of that identity",
    "MUSTER_SSH_PUBLIC_KEY": "SSH public key of machines; password logins are off",
}


# One of Azure ML's own base images (Azure/AzureML-Containers), without CUDA; pinned, since what it holds moves monthly.
ML_IMAGE = "mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04:20260901.v1"


class SettingsMissing(AppError):
    """The app was deployed without settings it needs. Nobody who calls it can help that."""


@dataclass(frozen=True)
class Settings:
    subscription_id: str
    resource_group: str
    location: str
    storage_account_url: str
    state_container: str
    subnet_ids: Mapping[str, str]  # region -> ARM id; "" is the one for every region
    vm_identity_id: str
    vm_identity_client_id: str
    client_id: str | None  # the app's own user-assigned identity
    ssh_public_key: str
    app: str
    workloads: Path
    local_work: Path  # where the `local` platform keeps its leases
    ml_workspace_id: str = ""  # ARM id of the Azure ML workspace; "" where there is none
    ml_image: str = ML_IMAGE  # what jobs on Azure ML clusters run in
    event_topic_endpoint: str = ""  # of the custom topic that our own events go to; "" where nobody listens

    def subnet_id(self, region: str) -> str:
        """The subnet for machines in `region`. Raises SpecError when the setting names none."""
        found = self.subnet_ids.get(region) or self.subnet_ids.get("")
        if not found:
            raise SpecError(
                f"MUSTER_SUBNET_ID names no subnet for region {region}; it has {', '.join(self.subnet_ids)}"
            )
        return found


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from `environment`. Raises SettingsMissing naming every one and what it should hold."""
    missing = [f"{name} ({meaning})" for name, meaning in _REQUIRED.items() if not environment.get(name)]
    if missing:
        raise SettingsMissing("these settings are missing: " + "; ".join(missing))
    return Settings(
        subscription_id=environment["MUSTER_SUBSCRIPTION_ID"],
        resource_group=environment["MUSTER_RESOURCE_GROUP"],
        location=environment["MUSTER_LOCATION"],
        storage_account_url=environment["MUSTER_STORAGE_ACCOUNT_URL"].rstrip("/"),
        state_container=state_container(environment),
        subnet_ids=_subnets(environment["MUSTER_SUBNET_ID"]),
        vm_identity_id=environment["MUSTER_VM_IDENTITY_ID"],
        vm_identity_client_id=environment["MUSTER_VM_IDENTITY_CLIENT_ID"],
        client_id=environment.get("AZURE_CLIENT_ID") or None,
        ssh_public_key=environment["MUSTER_SSH_PUBLIC_KEY"],
        app=environment.get("MUSTER_APP", "muster"),
        workloads=Path(environment.get("MUSTER_WORKLOADS", "workloads")),
        local_work=Path(
            environment.get("MUSTER_LOCAL_WORK") or f"{tempfile.gettempdir()}/muster-{getuser()}"
        ),
        ml_workspace_id=environment.get("MUSTER_ML_WORKSPACE", "").rstrip("/"),
        ml_image=environment.get("MUSTER_ML_IMAGE") or ML_IMAGE,
        event_topic_endpoint=environment.get("MUSTER_EVENT_TOPIC_ENDPOINT", ""),
    )


def state_container(environment: Mapping[str, str]) -> str:
    """Where the app keeps its own records."""
    return environment.get("MUSTER_STATE_CONTAINER", "muster")


def _subnets(text: str) -> dict[str, str]:
    pairs = [part.strip() for part in text.split(",") if part.strip()]
    return {
        k.strip(): v.strip()
        for k, v in (p.split("=", 1) if not p.startswith("/") else ("", p) for p in pairs)
    }


@cache
def settings() -> Settings:
    """This process's settings."""
    return read_settings(os.environ)
