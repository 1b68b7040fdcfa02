"""Marketplace images that can be booted here.

Sources: AZURE.md section 7 (Data Science VM offers), image lists of learn.microsoft.com virtual-machines/linux/imaging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localdev.azuresim.errors import ArmError


@dataclass(frozen=True)
class Image:
    publisher: str
    offer: str
    sku: str
    version: str
    os_type: str
    os_disk_gib: int
    generation: str
    name: str


IMAGES = (
    Image("microsoft-dsvm", "ubuntu-2204", "2204-gen2", "25.06.18", "Linux", 150, "V2", "ubuntu"),
    Image("microsoft-dsvm", "ubuntu-2204", "2204", "25.06.18", "Linux", 150, "V1", "ubuntu"),
    Image("microsoft-dsvm", "ubuntu-hpc", "2204", "22.04.2025060601", "Linux", 64, "V2", "ubuntu"),
    Image("microsoft-dsvm", "dsvm-win-2022", "winserver-2022", "25.06.18", "Windows", 150, "V2", "Windows"),
    Image(
        "Canonical",
        "0001-com-ubuntu-server-jammy",
        "22_04-lts",
        "22.04.202506200",
        "Linux",
        30,
        "V1",
        "ubuntu",
    ),
    Image(
        "Canonical",
        "0001-com-ubuntu-server-jammy",
        "22_04-lts-gen2",
        "22.04.202506200",
        "Linux",
        30,
        "V2",
        "ubuntu",
    ),
    Image("Canonical", "ubuntu-24_04-lts", "server", "24.04.202506170", "Linux", 30, "V2", "ubuntu"),
    Image("Debian", "debian-12", "12-gen2", "0.20250519.2117", "Linux", 30, "V2", "debian"),
)


def find(reference: Mapping[str, Any]) -> Image:
    """The image of an `imageReference`. Raises ARM's 404 if there is none."""
    wanted = tuple(str(reference.get(key, "")).casefold() for key in ("publisher", "offer", "sku"))
    version = str(reference.get("version", "")).casefold()
    for image in IMAGES:
        same = wanted == (image.publisher.casefold(), image.offer.casefold(), image.sku.casefold())
        if same and version in ("latest", image.version):
            return image
    urn = ":".join(str(reference.get(key, "")) for key in ("publisher", "offer", "sku", "version"))
    raise ArmError(
        404,
        "PlatformImageNotFound",
        f"The platform image '{urn}' is not available. Verify that all fields in the storage profile are correct. For "
        "more details about storage profile information, please refer to https://aka.ms/storageprofile",
        target="imageReference",
    )
