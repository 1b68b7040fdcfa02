"""The operating systems of running machines: a folder, an environment and a way to the outside for each.

A machine's processes reach the network through the proxy with a user name and password of their own, which is how the
metadata service at 169.254.169.254 tells machines apart.
"""

from __future__ import annotations

import secrets
import shutil
import sys
from pathlib import Path

from localdev.azuresim.certificates import Certificates
from localdev.azuresim.executor import Machine
from localdev.clock import Clock

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machines:
    """Operating systems by the `vmId` of their machine. `proxy_port` must be set before the first one boots."""

    def __init__(self, folder: Path, certificates: Certificates, clock: Clock) -> None:
        shutil.rmtree(folder, ignore_errors=True)  # of a simulator that was killed
        self._folder, self._certificates, self._clock = folder, certificates, clock
        self._machines: dict[str, Machine] = {}
        self._passwords: dict[str, str] = {}
        self._secrets: dict[str, str] = {}
        self.proxy_port = self.identity_port = 0

    def boot(self, vm_id: str) -> Machine:
        """The machine's system, as it was left; a new one the first time."""
        if vm_id not in self._machines:
            self._passwords[vm_id] = secrets.token_urlsafe(16)
            self._machines[vm_id] = Machine(
                self._folder / vm_id, self._environment(vm_id), clock=self._clock.time
            )
        return self._machines[vm_id]

    def get(self, vm_id: str) -> Machine | None:
        return self._machines.get(vm_id)

    def stop(self, vm_id: str) -> None:
        """End every process; the files stay on the disk."""
        machine = self._machines.get(vm_id)
        for execution in machine.executions if machine else ():
            execution.destroy()

    def destroy(self, vm_id: str) -> None:
        """End every process and forget the files. Safe to repeat, and to call from another thread."""
        self._passwords.pop(vm_id, None)
        for secret in [secret for secret, owner in list(self._secrets.items()) if owner == vm_id]:
            del self._secrets[secret]
        machine = self._machines.pop(vm_id, None)
        if machine:
            machine.destroy()
        shutil.rmtree(self._folder / vm_id, ignore_errors=True)

    def destroy_all(self) -> None:
        for vm_id in list(self._machines):
            self.stop(vm_id)
            self._machines.pop(vm_id)

    def is_known(self, vm_id: str, password: str) -> bool:
        expected = self._passwords.get(vm_id)
        return expected is not None and secrets.compare_digest(expected, password)

    def identity_variables(self, vm_id: str) -> dict[str, str]:
        """How programs on a node of Azure Machine Learning get tokens (azure-identity's AzureMLCredential)."""
        secret = next((secret for secret, owner in self._secrets.items() if owner == vm_id), "")
        if not secret:
            secret = secrets.token_hex(16)
            self._secrets[secret] = vm_id
        return {"MSI_ENDPOINT": f"http://127.0.0.1:{self.identity_port}/msi/auth", "MSI_SECRET": secret}

    def owner_of(self, secret: str) -> str:
        """Which machine was given this secret; "" for none."""
        return self._secrets.get(secret, "")

    def _environment(self, vm_id: str) -> dict[str, str]:
        # The DSVM image's Python has what node/requirements.txt names; ours stands in for it.
        python = str(Path(sys.executable).parent)
        proxy = f"http://{vm_id}:{self._passwords[vm_id]}@127.0.0.1:{self.proxy_port}"
        authority = str(self._certificates.authority)
        return {
            "PATH": f"{python}:{SYSTEM_PATH}",
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
            **trust(authority),
        }


def trust(authority: str) -> dict[str, str]:
    """Variables by which TLS clients of all kinds trust the simulator's authority, and nothing else."""
    names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return dict.fromkeys(names, authority)
