"""What is still there when a run is over, and must not be."""

from __future__ import annotations

from localdev.azuresim import estate
from localdev.azuresim.ml.cluster import COMPUTES, KUBERNETES
from tests.crash.cloud import Cloud


def unfinished(cloud: Cloud) -> str:
    """The first thing that keeps a world from being at rest; "" if nothing does."""
    if left := left_in_azure(cloud):
        return f"{left[0]} is left"
    if open_ := cloud.storage.names("muster", "leases/open/"):
        return f"{open_[0]} is open"
    if unstarted := cloud.storage.names("muster", "claims/unstarted/"):
        return f"{unstarted[0]} is left"
    return ""


def left_in_azure(cloud: Cloud) -> list[str]:
    """Everything in the machines' group, and every cluster that is not a user's own."""
    group, store = f"/resourcegroups/{estate.MACHINE_GROUP}/", cloud.world.store
    clusters = (r for r in store.of_type(COMPUTES) if r.properties["computeType"] != KUBERNETES)
    return [*(r.id for r in store if group in r.id.lower()), *(r.id for r in clusters)]
