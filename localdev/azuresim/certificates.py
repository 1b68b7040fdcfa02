"""A certificate authority that lives as long as the simulator, and one leaf for all simulated hosts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from localdev.azuresim import catalog
from localdev.azuresim.estate import STORAGE_ACCOUNT

ARM_HOST = "management.azure.com"
STORAGE_SERVICES = ("blob", "queue", "table")
# One a region: the services of Azure Machine Learning that are not behind ARM (`discoveryUrl` of a workspace).
ML_HOSTS = tuple(f"{region}.api.azureml.ms" for region in catalog.REGIONS)
EVENT_GRID_HOSTS = tuple(
    f"*.{region}-1.eventgrid.azure.net" for region in catalog.REGIONS
)  # one host a topic
INFERENCE_HOSTS = tuple(f"*.{region}.inference.ml.azure.com" for region in catalog.REGIONS)  # one an endpoint
STORAGE_HOSTS = {service: f"{STORAGE_ACCOUNT}.{service}.core.windows.net" for service in STORAGE_SERVICES}


@dataclass(frozen=True)
class Certificates:
    authority: Path  # PEM: what clients trust
    chain: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.chain, self.key)
        return context


def make(folder: Path) -> Certificates:
    authority = trustme.CA()
    hosts = (ARM_HOST, *STORAGE_HOSTS.values(), *ML_HOSTS, *EVENT_GRID_HOSTS, *INFERENCE_HOSTS)
    leaf = authority.issue_cert(*hosts, "127.0.0.1", "localhost")
    made = Certificates(folder / "ca.pem", folder / "leaf.pem", folder / "leaf.key")
    authority.cert_pem.write_to_path(made.authority)
    made.chain.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(made.key)
    made.key.chmod(0o600)
    return made
