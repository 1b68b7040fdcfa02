"""Whether a version may be deployed at all, looked at before anything is promised."""

from __future__ import annotations

from shared.azure import ml_registry, model_store
from shared.domain.conversion import original_version
from shared.domain.deploy import DeployRequest, EndpointRecord
from shared.domain.errors import Fault
from shared.domain.registry import CHAMPION

BY_EVENT = "event"  # who started a deployment that nobody asked for by hand
_SHOWN = 20


def faults_of_model(name: str, version: str) -> list[Fault]:
    """Why `name`:`version` cannot be deployed; nothing if it can. `champion` is whichever has that title now."""
    known = model_store.versions(name)
    if not known:
        return [Fault(path="model.name", message=f"there is no model {name!r} in the registry")]
    fixed = model_store.champion(name) if version == CHAMPION else version
    allowed = ", ".join(known[-_SHOWN:])
    if not fixed:
        return [Fault(path="model.version", message=f"{name} has no champion", allowed=allowed)]
    if fixed not in known:
        return [Fault(path="model.version", message=f"{name} has no version {fixed!r}", allowed=allowed)]
    if ml_registry.is_archived(name, fixed):
        message = f"{name}:{fixed} is archived in Azure ML: somebody put it out of use"
        return [
            Fault(path="model.version", message=message, hint="Restore it there, or name another version")
        ]
    return []


def overtaken_by(request: DeployRequest, record: EndpointRecord) -> str:
    """Why a deployment that nobody asked for by hand is not needed any more: as new a version is live. "" if it is."""
    name, _, live = (record.live.model if record.live else "").partition(":")
    if request.started_by != BY_EVENT or name != request.workload.model.name:
        return ""
    live = original_version(live)
    if not (live.isdecimal() and request.version.isdecimal()) or int(live) < int(request.version):
        return ""
    return f"version {live} is live at {request.endpoint}, and {request.version} is not newer"
