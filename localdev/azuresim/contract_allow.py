"""Known differences between Microsoft's SDKs or services and Microsoft's specifications, each with name and date.

An entry lets exactly one kind of finding pass. Keep the list short: it is the measure of what the contract check
cannot promise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Allowance:
    name: str
    date: str
    operation: str  # regular expression over the operationId
    finding: str  # regular expression over the text of the finding
    reason: str

    def covers(self, operation: str, finding: str) -> bool:
        return bool(re.search(self.operation, operation) and re.search(self.finding, finding))


ALLOWANCES = (
    Allowance(
        "ml-hash-version-is-an-integer",
        "2026-11-21",
        r"^(CodeVersions|RegistryCodeVersions)_",
        r"hashVersion|hash_version: \d+ is not of type 'string'",
        "azure-ai-ml 1.35.2 sends the code hash version as a number; the service takes it",
    ),
    Allowance(
        "ml-route-is-the-root",
        "2026-11-21",
        r"^EnvironmentVersions_",
        r"inferenceConfig\.(liveness|readiness|scoring)Route\.path: '/' does not match",
        "the pattern asks for a letter, and Azure ML's own inference server answers its probes at /, port 5001: public "
        "deployments declare that route",
    ),
    Allowance(
        "vm-size-enum-is-stale",
        "2026-11-21",
        r"^(VirtualMachine|AvailabilitySets|DedicatedHosts)",
        r"\.(vmSize|vmSizes\S*|name): 'Standard_\w+' is not one of",
        "the list of sizes in the specification ended years ago, as its own description says",
    ),
    Allowance(
        "vm-network-api-version",
        "2026-11-21",
        r"^VirtualMachine",
        r"networkApiVersion: '\d{4}-\d\d-\d\d' is not one of",
        "the official examples themselves use later versions of Microsoft.Network",
    ),
)


def allowance(operation: str, finding: str) -> Allowance | None:
    return next((each for each in ALLOWANCES if each.covers(operation, finding)), None)
