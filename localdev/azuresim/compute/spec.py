"""What the body of a virtual machine may say, and what Azure says when it says it wrong.

Members: the Swagger of Microsoft.Compute virtualMachine.json 2024-07-01. Rules and texts: public error logs and
learn.microsoft.com; a text without a known original names the member and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from localdev.azuresim import catalog
from localdev.azuresim.catalog import Size
from localdev.azuresim.compute import images
from localdev.azuresim.errors import ArmError, invalid_parameter
from localdev.azuresim.estate import location_name
from localdev.azuresim.shapes import ANY, NOT_SIMULATED, READ_ONLY, REFERENCE, check, members

_MANAGED_DISK = {**members("id", "storageAccountType", "diskEncryptionSet", "securityProfile")}
_OS_DISK = {
    **members(
        "osType", "name", "caching", "writeAcceleratorEnabled", "createOption", "diskSizeGB", "deleteOption"
    ),
    "managedDisk": _MANAGED_DISK,
    "encryptionSettings": NOT_SIMULATED,
    "vhd": NOT_SIMULATED,
    "image": NOT_SIMULATED,
    "diffDiskSettings": NOT_SIMULATED,
}
_DATA_DISK = {
    **members(
        "lun", "name", "caching", "writeAcceleratorEnabled", "createOption", "diskSizeGB", "deleteOption"
    ),
    **members("toBeDetached", "detachOption", "diskIOPSReadWrite", "diskMBpsReadWrite"),
    "managedDisk": _MANAGED_DISK,
    "vhd": NOT_SIMULATED,
    "image": NOT_SIMULATED,
    "sourceResource": NOT_SIMULATED,
}
_PUBLIC_IP_PROPERTIES = {
    **members("idleTimeoutInMinutes", "deleteOption", "publicIPAddressVersion", "publicIPAllocationMethod"),
    **dict.fromkeys(("dnsSettings", "ipTags", "publicIPPrefix"), NOT_SIMULATED),
}
_IP_CONFIGURATION = {
    "name": ANY,
    "properties": {
        "subnet": REFERENCE,
        **members("primary", "privateIPAddressVersion"),
        "publicIPAddressConfiguration": {
            **members("name", "sku", "tags"),
            "properties": _PUBLIC_IP_PROPERTIES,
        },
        **dict.fromkeys(
            (
                "applicationSecurityGroups",
                "applicationGatewayBackendAddressPools",
                "loadBalancerBackendAddressPools",
            ),
            NOT_SIMULATED,
        ),
    },
}
_NIC_CONFIGURATION = {
    **members("name", "tags"),
    "properties": {
        **members("primary", "deleteOption", "enableAcceleratedNetworking", "disableTcpStateTracking"),
        **members("enableFpga", "enableIPForwarding", "dnsSettings", "auxiliaryMode", "auxiliarySku"),
        "networkSecurityGroup": REFERENCE,
        "ipConfigurations": [_IP_CONFIGURATION],
        "dscpConfiguration": NOT_SIMULATED,
    },
}
_LINUX = {
    **members(
        "disablePasswordAuthentication", "provisionVMAgent", "patchSettings", "enableVMAgentPlatformUpdates"
    ),
    "ssh": {"publicKeys": [members("path", "keyData")]},
}
_PROPERTIES = {
    "hardwareProfile": members("vmSize", "vmSizeProperties"),
    "storageProfile": {
        **members("imageReference", "diskControllerType"),
        "osDisk": _OS_DISK,
        "dataDisks": [_DATA_DISK],
    },
    "osProfile": {
        **members("computerName", "adminUsername", "adminPassword", "customData", "windowsConfiguration"),
        **members("secrets", "allowExtensionOperations", "requireGuestProvisionSignal"),
        "linuxConfiguration": _LINUX,
    },
    "networkProfile": {
        "networkInterfaces": [{"id": ANY, "properties": members("primary", "deleteOption")}],
        "networkApiVersion": ANY,
        "networkInterfaceConfigurations": [_NIC_CONFIGURATION],
    },
    **members("priority", "evictionPolicy", "billingProfile", "additionalCapabilities", "securityProfile"),
    **members(
        "diagnosticsProfile", "licenseType", "extensionsTimeBudget", "scheduledEventsProfile", "userData"
    ),
    **members("provisioningState", "instanceView", "vmId", "timeCreated"),
    **dict.fromkeys(
        (
            "availabilitySet",
            "virtualMachineScaleSet",
            "proximityPlacementGroup",
            "host",
            "hostGroup",
            "platformFaultDomain",
            "capacityReservation",
            "applicationProfile",
            "scheduledEventsPolicy",
        ),
        NOT_SIMULATED,
    ),
}
VIRTUAL_MACHINE = {
    **members("location", "tags", "identity", "zones", "plan", "resources", *READ_ONLY),
    "properties": _PROPERTIES,
    "extendedLocation": NOT_SIMULATED,
}
UPDATE = {**members("tags", "identity", "zones", "plan"), "properties": _PROPERTIES}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9_]|[A-Za-z0-9]")
_PUBLIC_KEY = re.compile(r"(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/=]+( .*)?", re.DOTALL)
_TAGS_SINCE = "2024-11-01"  # azure-mgmt-compute 34.0.0: networkInterfaceConfigurations[].tags


def check_new(name: str, body: Mapping[str, Any], api_version: str) -> tuple[str, Size]:
    """Where the machine will be and its size. Raises what Azure answers to a body it does not take."""
    check(body, VIRTUAL_MACHINE, "VirtualMachine")
    if not _NAME.fullmatch(name):
        raise invalid_parameter(
            "Linux host name cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ # $ % "
            "^ & * ( ) = + _ [ ] { } \\\\ | ; : ' \\\" , < > / ?.",
            "vmName",
        )
    location = required_location(body, "Microsoft.Compute/virtualMachines")
    check_tags(body.get("tags"))
    properties = body.get("properties") or {}
    size = _size(properties, location)
    _check_storage(properties)
    _check_login(properties)
    _check_network(properties, api_version)
    _check_priority(properties, size)
    return location, size


def required_location(body: Mapping[str, Any], type_: str) -> str:
    asked = body.get("location")
    if not isinstance(asked, str) or not asked:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    name = location_name(asked)
    if name is None:
        raise ArmError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{asked}' is not available for resource type '{type_}'. List of available regions "
            f"for the resource type is '{','.join(catalog.REGIONS)}'.",
        )
    return name


def check_tags(tags: Any) -> None:
    """At most 50, names of 512 and values of 256 characters (learn: tag-resources, limitations)."""
    if tags is None:
        return
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise ArmError(
            400, "InvalidRequestContent", "The request content was invalid: tags must be texts by name."
        )
    if len(tags) > 50:
        raise ArmError(
            400, "InvalidTags", f"The number of tags '{len(tags)}' exceeds the maximum allowed '50'."
        )
    for name, value in tags.items():
        if not name or len(name) > 512 or re.search(r"[<>%&\\?/]", name):
            raise ArmError(
                400, "InvalidTagNameCharacters", f"The tag names '{name}' have reserved characters."
            )
        if len(value) > 256:
            raise ArmError(400, "InvalidTagValueLength", f"Tag value too large. Following tag value '{value}' exceeds "
                           "the maximum length. Maximum allowed length for tag value - '256' characters.")  # fmt: skip


def _size(properties: Mapping[str, Any], location: str) -> Size:
    asked = (properties.get("hardwareProfile") or {}).get("vmSize")
    size = next(
        (each for each in catalog.SIZES.values() if each.name.casefold() == str(asked).casefold()), None
    )
    if size is None:
        raise invalid_parameter(
            f"The value {asked} provided for the VM size is not valid. The valid sizes in the current region are: "
            f"{', '.join(name for name in catalog.SIZES if catalog.is_sold(name, location))}. Find out more on the "
            "valid VM sizes in each region at https://aka.ms/azure-regions.",
            "vmSize",
        )
    priority: catalog.Priority = "Spot" if properties.get("priority") in ("Spot", "Low") else "Regular"
    if not catalog.is_sold(size.name, location, priority):
        raise ArmError(
            409,
            "SkuNotAvailable",
            "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
            f"{size.name}' is currently not available in location '{location}'. Please try another size or deploy to "
            "a different location or different zone. See https://aka.ms/azureskunotavailable for details.",
        )
    return size


def _check_storage(properties: Mapping[str, Any]) -> None:
    storage = properties.get("storageProfile") or {}
    images.find(_needed(storage, "imageReference", "storageProfile"))
    disk = storage.get("osDisk") or {}
    if disk and disk.get("createOption") != "FromImage":
        raise invalid_parameter(
            f"The value '{disk.get('createOption')}' of parameter 'osDisk.createOption' is invalid: only FromImage is "
            "simulated.",
            "osDisk.createOption",
        )
    for option in (disk, *(storage.get("dataDisks") or ())):
        _check_delete_option(option, "storageProfile")


def _check_login(properties: Mapping[str, Any]) -> None:
    login = properties.get("osProfile")
    if not login:
        raise invalid_parameter("Required parameter 'osProfile' is missing (null).", "osProfile")
    user = _needed(login, "adminUsername", "osProfile")
    _needed(login, "computerName", "osProfile")
    linux = login.get("linuxConfiguration") or {}
    keys = (linux.get("ssh") or {}).get("publicKeys") or []
    if not keys and not login.get("adminPassword"):
        raise invalid_parameter("Authentication using either SSH or by user name and password must be enabled in "
                                "Linux profile.", "linuxConfiguration")  # fmt: skip
    for key in keys:
        if key.get("path") != f"/home/{user}/.ssh/authorized_keys":
            raise invalid_parameter(
                "Destination path for SSH public keys is currently limited to its default value "
                f"/home/{user}/.ssh/authorized_keys due to a known issue in Linux provisioning agent.",
                "linuxConfiguration.ssh.publicKeys.path",
            )
        if not _PUBLIC_KEY.fullmatch(str(key.get("keyData", "")).strip()):
            raise invalid_parameter(
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
                "linuxConfiguration.ssh.publicKeys.keyData",
            )


def _check_network(properties: Mapping[str, Any], api_version: str) -> None:
    network = properties.get("networkProfile") or {}
    attached, configured = network.get("networkInterfaces"), network.get("networkInterfaceConfigurations")
    if not attached and not configured:
        raise invalid_parameter(
            "Virtual Machine must have at least one network interface associated with it.", "networkProfile"
        )
    for index, nic in enumerate(configured or ()):
        if not network.get("networkApiVersion"):
            raise invalid_parameter(
                "Required parameter 'networkProfile.networkApiVersion' is missing (null).",
                "networkApiVersion",
            )
        where = f"networkProfile.networkInterfaceConfigurations[{index}]"
        if nic.get("tags") and api_version < _TAGS_SINCE:
            raise ArmError(
                400, "BadRequest", f"Could not find member 'tags' on object of type 'VMNetworkInterfaceConfiguration'. "
                f"Path 'properties.{where}.tags', line 1, position 1.", target=f"{where}.tags")  # fmt: skip
        _needed(nic, "name", where)
        details = nic.get("properties") or {}
        _check_delete_option(details, where)
        for ip in _needed(details, "ipConfigurations", where):
            _needed(
                (ip.get("properties") or {}).get("subnet") or {}, "id", f"{where}.ipConfigurations.subnet"
            )


def _check_priority(properties: Mapping[str, Any], size: Size) -> None:
    priority, policy = properties.get("priority", "Regular"), properties.get("evictionPolicy")
    if priority not in ("Regular", "Spot", "Low"):
        raise invalid_parameter(f"The value '{priority}' of parameter 'priority' is invalid.", "priority")
    if policy and priority == "Regular":
        raise invalid_parameter(
            "Eviction policy can be set only on Azure Spot Virtual Machines.", "evictionPolicy"
        )
    if priority != "Regular" and not size.spot_capable:
        raise ArmError(
            400,
            "VMSizeDoesNotSupportLowPriority",
            f"The VM size {size.name} is not supported for Azure Spot. For more information, see "
            "http://aka.ms/AzureSpot/errormessages.",
        )


def _check_delete_option(part: Mapping[str, Any], target: str) -> None:
    option = part.get("deleteOption", "Detach")
    if option not in ("Delete", "Detach"):
        raise invalid_parameter(f"The value '{option}' of parameter 'deleteOption' is invalid.", target)


def _needed(part: Mapping[str, Any], name: str, owner: str) -> Any:
    value = part.get(name)
    if not value:
        raise invalid_parameter(f"Required parameter '{owner}.{name}' is missing (null).", f"{owner}.{name}")
    return value
