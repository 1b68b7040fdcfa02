"""What the tests of a Data Science VM look at."""

from __future__ import annotations

from shared.azure import arm, resources
from shared.domain.lease import Lease, OwnedResource
from shared.platforms import platforms

DSVM = platforms()["dsvm"]
VMS, JOBS = DSVM.provisioner, DSVM.jobs


def types(lease: Lease) -> list[str]:
    """What exists under the lease, by the platform's own account."""
    return sorted(each.type for each in VMS.list_remains(lease))


def read(type_: str, name: str) -> arm.Answer:
    return resources.read(OwnedResource(id=arm.resource_id(type_, name), type=type_))
