"""The body of POST /api/deployments: a declared workload and a version, or a whole policy for an endpoint nobody owns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from shared.domain.deployment import Deployment
from shared.domain.document import MAX_DEPTH, Document
from shared.domain.errors import ConflictError, Fault, SpecErrors
from shared.domain.spec import model_of
from shared.platforms import with_server
from shared.triggers.answers import refused
from shared.triggers.workloads import deployments, load_workloads

_REASON = 400  # characters


@dataclass(frozen=True)
class Asked:
    """What a body asks for. `fingerprint`: of what it says, however it is spelled."""

    workload: Deployment
    version: str
    reason: str
    fingerprint: str


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(default=None, min_length=1, max_length=60)
    version: str = Field(default="", max_length=60, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


class _Declared(BaseModel):
    """Deploy a version of a declared workload's model; without one, the version that the declaration names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workload: str = Field(min_length=1, max_length=64)
    model: _Model = _Model.model_construct(name=None, version="")
    reason: str = Field(default="", max_length=_REASON)


def read_request(raw: bytes) -> Asked:
    """What the body asks for. Raises SpecErrors with every fault, ConflictError for a policy that would go round one."""
    data = _json(raw)
    fingerprint = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    if "workload" in data:
        return _declared(data, fingerprint)
    return _inline(data, fingerprint)


def _declared(data: Mapping[str, Any], fingerprint: str) -> Asked:
    try:
        body = _Declared.model_validate(data)
    except ValidationError as error:
        faults = [Fault(path=".".join(map(str, e["loc"])), message=e["msg"]) for e in error.errors()]
        raise SpecErrors(source="body", faults=faults) from None
    there = deployments()
    workload = there.get(body.workload)
    if workload is None:
        raise refused([_no_deployment(body.workload, list(there))])
    if body.model.name not in (None, workload.model.name):
        message = f"{workload.name} serves {workload.model.name}, not {body.model.name}"
        raise refused([Fault(path="model.name", message=message, hint="Leave it out")])
    version = body.model.version or workload.model.version
    return Asked(workload, version, body.reason, fingerprint)


def _no_deployment(name: str, there: list[str]) -> Fault:
    other = load_workloads()[0].get(name)
    message = f"{name} is a {other.kind}" if other else f"no workload {name!r} is deployed"
    return Fault(path="workload", message=message, allowed=", ".join(there) or "none is declared")


def _inline(data: Mapping[str, Any], fingerprint: str) -> Asked:
    """A whole declaration without `kind` and `name`: it is called as its endpoint is."""
    faults = [
        Fault(
            path=key,
            message="is not for a request to say",
            hint="Without `workload`, it is called as its endpoint is",
        )
        for key in ("kind", "name")
        if key in data
    ]
    reason = data.get("reason", "")
    if not isinstance(reason, str) or len(reason) > _REASON:
        faults.append(Fault(path="reason", message="is no text", allowed=f"at most {_REASON} characters"))
    target = data.get("target")
    endpoint = target.get("endpoint") if isinstance(target, dict) else None
    name = endpoint if isinstance(endpoint, str) and 3 <= len(endpoint) <= 32 else "inline"
    rest = {key: value for key, value in data.items() if key not in ("kind", "name", "reason")}
    document = Document({**rest, "kind": "Deployment", "name": name}, {}, {}, tuple(faults))
    known = {"serving platform": tuple(with_server())}
    try:
        workload = model_of(document, {"Deployment": Deployment}, source="body", known=known)
    except SpecErrors as error:
        raise SpecErrors(
            source="body", faults=[f for f in error.faults if f.path != "name" or f in faults]
        ) from None
    if waived := _waived(workload):
        raise SpecErrors(source="body", faults=waived)
    _refuse_to_go_round(workload)
    return Asked(workload, workload.model.version, str(reason), fingerprint)


def _waived(workload: Deployment) -> list[Fault]:
    """What only a declaration may do without: it was reviewed, and came with the app."""
    kept = {
        "requireLineage": workload.require_lineage,
        "approval.required": workload.approval.required,
        "approval.fourEyes": workload.approval.four_eyes,
    }
    hint = "Declare the deployment in the workloads folder to do without"
    return [
        Fault(path=path, message="cannot be waived by a request", allowed="true", hint=hint)
        for path, is_kept in kept.items()
        if not is_kept
    ]


def _refuse_to_go_round(workload: Deployment) -> None:
    """Raises ConflictError where a declaration says how this endpoint is deployed to, or has this name."""
    endpoint = workload.target.endpoint
    owner = next((d.name for d in deployments().values() if d.target.endpoint == endpoint), None)
    if owner is not None:
        raise ConflictError(
            f"workload {owner} says how {endpoint} is deployed to; send "
            f'{{"workload": "{owner}", "model": {{"version": ...}}}}',
            code="PolicyDeclared",
            target=owner,
        )
    if endpoint in load_workloads()[0]:
        raise ConflictError(
            f"{endpoint} is the name of a declared workload", code="NameTaken", target=endpoint
        )


def _json(raw: bytes) -> dict[str, JsonValue]:
    """A JSON object. Raises SpecErrors: for what is none, for keys given twice, for NaN, for a bomb of brackets."""
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.extend(sorted({key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1}))
        return found

    try:
        data = json.loads(raw, object_pairs_hook=unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        said = "is nested too deeply" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        raise refused([Fault(path="", message=said, allowed="a JSON object")]) from None
    faults = [Fault(path=key[:80], message="is given twice", hint="Keep one of them") for key in twice]
    if not isinstance(data, dict):
        faults.append(Fault(path="", message="is not a JSON object", allowed='{"workload": ...}'))
    elif _depth(data) > MAX_DEPTH:
        faults.append(Fault(path="", message="is nested too deeply", allowed=f"at most {MAX_DEPTH} levels"))
    if faults:
        raise refused(faults)
    found: dict[str, JsonValue] = data
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _depth(value: Any) -> int:
    """Levels of a value, counted without recursion."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return depth
