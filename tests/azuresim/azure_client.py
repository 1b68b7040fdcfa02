"""A plain HTTP client of the simulated Azure, and the bodies it sends. It shares no code with the app's own client."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import requests

from localdev.azuresim import Control, Simulator

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/muster-burn"
COMPUTE, NETWORK, RESOURCES, SCHEDULES, DISKS = (
    "2024-07-01",
    "2024-03-01",
    "2021-04-01",
    "2018-09-15",
    "2024-03-02",
)
MACHINE_LEARNING = "2023-08-01-preview"
VERSIONS = {
    "microsoft.network": NETWORK,
    "microsoft.devtestlab": SCHEDULES,
    "microsoft.machinelearningservices": MACHINE_LEARNING,
}
TAGS = {"muster-lease": "lease-1", "muster-app": "muster"}


class Azure:
    """One caller with the app's identity. Time stands still unless a test lets it pass."""

    def __init__(self, simulator: Simulator) -> None:
        self._settle(simulator.env)

    @classmethod
    def at(cls, environment: dict[str, str]) -> Azure:
        """A caller of a simulator in another process, by the environment block it printed."""
        caller = cls.__new__(cls)
        caller._settle(environment)
        return caller

    def _settle(self, environment: dict[str, str]) -> None:
        self.env, self.control = environment, Control(environment["AZURESIM_CONTROL_URL"])
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.proxies = {"https": self.env["HTTPS_PROXY"], "http": self.env["HTTP_PROXY"]}
        self._session.verify = self.env["REQUESTS_CA_BUNDLE"]
        self._token = ""

    def identity(self, **query: str) -> requests.Response:
        """Ask the host's identity endpoint."""
        headers = {"X-IDENTITY-HEADER": self.env["IDENTITY_HEADER"]}
        asked = {"api-version": "2019-08-01", "resource": "https://management.azure.com", **query}
        return requests.get(self.env["IDENTITY_ENDPOINT"], params=asked, headers=headers, timeout=10)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str = "",
        headers: dict[str, str] | None = None,
        token: str = "",
    ) -> requests.Response:
        """One request to ARM; `path` may be a whole URL and brings its query along."""
        if not self._token:
            self._token = self.identity().json()["access_token"]
        url = path if path.startswith("https://") else f"https://management.azure.com{path}"
        params = {} if "api-version=" in url else {"api-version": version or version_of(path)}
        authorization = {"Authorization": f"Bearer {token or self._token}"}
        return self._session.request(
            method, url, params=params, json=body, headers={**authorization, **(headers or {})}, timeout=30
        )

    def plain(self, method: str, url: str, **options: Any) -> requests.Response:
        """A request without a token, through the proxy."""
        return self._session.request(method, url, timeout=10, **options)

    def get(self, path: str, **options: Any) -> Any:
        answer = self.send("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def vm(self, name: str) -> dict[str, Any]:
        """The machine with its instance view."""
        return dict(self.get(f"{vm_id(name)}?$expand=instanceView&api-version={COMPUTE}"))

    def power(self, name: str) -> str:
        statuses = self.vm(name)["properties"]["instanceView"]["statuses"]
        return next((s["code"] for s in statuses if s["code"].startswith("PowerState/")), "")

    def create_vm(self, name: str = "a", **options: Any) -> None:
        """A machine that runs and whose agent is ready."""
        answer = self.send("PUT", vm_id(name), vm_body(self.env, name, **options))
        assert answer.status_code == 201, answer.text
        self.control.advance(60)

    def post(self, name: str, verb: str) -> requests.Response:
        return self.send("POST", f"{vm_id(name)}/{verb}")

    def run(self, vm: str, script: str, name: str = "job", **properties: Any) -> requests.Response:
        """Put a managed run command; the agent has started it when this returns."""
        body = {"location": "westeurope", "properties": {"source": {"script": script}, **properties}}
        answer = self.send("PUT", f"{vm_id(vm)}/runCommands/{name}", body)
        self.control.advance(5)
        return answer

    def script(self, vm: str, name: str = "job") -> dict[str, Any]:
        path = f"{vm_id(vm)}/runCommands/{name}?$expand=instanceView&api-version={COMPUTE}"
        return dict(self.get(path)["properties"]["instanceView"])

    def finished(self, vm: str, name: str = "job") -> dict[str, Any]:
        """The instance view of a run command once its script is over."""
        return until(lambda: self.script(vm, name), lambda view: view["executionState"] != "Running")

    def outcome(self, script: str, vm: str = "a") -> dict[str, Any]:
        """Run a script to its end on a machine."""
        answer = self.run(vm, script, f"s{time.monotonic_ns()}", asyncExecution=True)
        assert answer.status_code == 201, answer.text
        return self.finished(vm, answer.json()["name"])

    def existing(self, *types: str) -> set[str]:
        """Names of what exists in the machines' group, of the given ARM types."""
        wanted = {type_.casefold() for type_ in types}
        found = (each for each in self.control.resources() if "/muster-burn/" in each["id"])
        return {each["name"] for each in found if each["type"].casefold() in wanted}


def until[T](look: Callable[[], T], is_there: Callable[[T], bool], seconds: float = 30) -> T:
    """The first answer that will do. Wall time: for processes, which take the time they take."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while True:
        seen = look()
        if is_there(seen):
            return seen
        assert time.monotonic() < deadline, f"still {seen}"
        pause.wait(0.02)


def version_of(path: str) -> str:
    namespace = (
        path.rpartition("/providers/")[2].partition("/")[0].casefold() if "/providers/" in path else ""
    )
    return VERSIONS.get(namespace, DISKS if "/disks" in path else COMPUTE if namespace else RESOURCES)


def vm_id(name: str) -> str:
    return f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"


def nic_id(name: str) -> str:
    return f"{GROUP}/providers/Microsoft.Network/networkInterfaces/{name}"


def subnet(env: dict[str, str], region: str = "westeurope") -> str:
    return dict(pair.split("=", 1) for pair in env["MUSTER_SUBNET_ID"].split(","))[region]


def vm_body(
    env: dict[str, str],
    name: str = "a",
    *,
    size: str = "Standard_D2s_v5",
    delete: str = "Delete",
    tags: dict[str, str] | None = None,
    public_ip: bool = False,
    **properties: Any,
) -> dict[str, Any]:
    """A Data Science VM as the app would ask for it: inline NIC, user-assigned identity, SSH key."""
    ip: dict[str, Any] = {"primary": True, "subnet": {"id": subnet(env)}}
    if public_ip:
        ip["publicIPAddressConfiguration"] = {
            "name": f"{name}-pip",
            "sku": {"name": "Standard"},
            "properties": {"deleteOption": delete, "publicIPAllocationMethod": "Static"},
        }
    nic = {
        "name": f"{name}-nic",
        "properties": {
            "primary": True,
            "deleteOption": delete,
            "ipConfigurations": [{"name": "ip", "properties": ip}],
        },
    }
    key = {"path": "/home/muster/.ssh/authorized_keys", "keyData": env["MUSTER_SSH_PUBLIC_KEY"]}
    image = {"publisher": "microsoft-dsvm", "offer": "ubuntu-2204", "sku": "2204-gen2", "version": "latest"}
    return {
        "location": "westeurope",
        "tags": TAGS if tags is None else tags,
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {env["MUSTER_VM_IDENTITY_ID"]: {}}},
        "properties": {
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": image,
                "osDisk": {
                    "name": f"{name}-os",
                    "createOption": "FromImage",
                    "deleteOption": delete,
                    "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
                },
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": "muster",
                "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}},
            },
            "networkProfile": {"networkApiVersion": "2022-11-01", "networkInterfaceConfigurations": [nic]},
            **properties,
        },
    }


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def inside(env: dict[str, str]) -> dict[str, str]:
    """The environment of a program in the simulated Azure, this one's own below it."""
    return {**os.environ, **env}
