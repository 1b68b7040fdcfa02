"""Assets of a workspace: models, code, data, environments, components. Versions are written once and archived later.

A container appears with its first version and counts versions. Shapes: mfe.json 2023-04-01 to 2024-10-01.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from localdev.azuresim.errors import bad_member
from localdev.azuresim.ml import paths, signals
from localdev.azuresim.ml.common import (
    ASSET_VERSIONS,
    WORKSPACE,
    missing,
    page,
    properties_of,
    user_error,
    view,
    workspace_of,
)
from localdev.azuresim.ml.kinds import DATA, KINDS, MODELS, READ_ONLY, Kind
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_ORDERS = ("createdtime asc", "createdtime desc", "createdat asc", "createdat desc")
_CONTAINER_MEMBERS = {"description", "properties", "tags", "isArchived", "dataType", *READ_ONLY}


def routes(world: World) -> list[Route]:
    return [route for kind in KINDS for route in Assets(world, kind).routes()]


class Assets:
    """Containers and versions of one kind."""

    def __init__(self, world: World, kind: Kind) -> None:
        self._world, self._kind = world, kind

    def routes(self) -> list[Route]:
        containers = f"{WORKSPACE}/{self._kind.plural}"
        container = f"{containers}/{{name}}"
        versions = f"{container}/versions"
        version = f"{versions}/{{version}}"
        outer, inner = self._kind.containers, self._kind.versions
        return [
            Route("GET", containers, f"{outer}/read", self.list_containers, ASSET_VERSIONS),
            Route("GET", container, f"{outer}/read", self.get_container, ASSET_VERSIONS),
            Route("PUT", container, f"{outer}/write", self.put_container, ASSET_VERSIONS),
            Route("DELETE", container, f"{outer}/delete", self.delete_container, ASSET_VERSIONS),
            Route("GET", versions, f"{inner}/read", self.list_versions, ASSET_VERSIONS),
            Route("GET", version, f"{inner}/read", self.get_version, ASSET_VERSIONS),
            Route("PUT", version, f"{inner}/write", self.put_version, ASSET_VERSIONS),
            Route("DELETE", version, f"{inner}/delete", self.delete_version, ASSET_VERSIONS),
        ]

    def list_containers(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        found = _in_view(call, self._world.store.of_type(self._kind.containers, workspace.id))
        found = _newest_first(found)
        return Reply(200, page(call, [self._container_view(each) for each in found], limit="count"))

    def get_container(self, call: Call) -> Reply:
        return Reply(200, self._container_view(self._container(call)))

    def put_container(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        asked = properties_of(call)
        _check_members(asked, _CONTAINER_MEMBERS, f"{self._kind.title}Container")
        found = self._world.store.get(call.resource_id)
        container = found or self._new(call, workspace, call.resource_id, self._kind.containers, {})
        container.properties |= _settable(asked)
        if found:
            self._world.store.touch(container, call.at)
        return Reply(200 if found else 201, self._container_view(container))

    def delete_container(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        for version in self._world.store.of_type(self._kind.versions, call.resource_id):
            self._world.store.remove(version.id)
        return Reply(200 if self._world.store.remove(call.resource_id) else 204)

    def list_versions(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        # Code is looked for by its content, under whatever name it was registered.
        scope = workspace.id if "hash" in call.query else call.resource_id.rpartition("/")[0]
        found = _in_view(call, self._world.store.of_type(self._kind.versions, scope))
        found = [each for each in found if all(fits(each) for fits in _filters(call))]
        ordered = _ordered(call, found)[int(call.query.get("offset", "0")) :]
        return Reply(200, page(call, [self._version_view(each) for each in ordered], limit="$top"))

    def get_version(self, call: Call) -> Reply:
        return Reply(200, self._version_view(self._version(call)))

    def put_version(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        asked = properties_of(call)
        _check_members(asked, self._kind.members, f"{self._kind.title}Version")
        for name in self._kind.required:
            if not asked.get(name):
                raise user_error(400, f"The request is invalid: '{name}' is required.")
        wanted = {**self._kind.defaults, **_settable(asked)}
        found = self._world.store.get(call.resource_id)
        if found is None:
            return Reply(201, self._version_view(self._create(call, workspace, wanted)))
        if any(wanted.get(name) != found.properties.get(name) for name in self._kind.frozen):
            raise user_error(409, self._kind.changed.format(**call.params))
        found.properties |= wanted
        self._world.store.touch(found, call.at)
        return Reply(200, self._version_view(found))

    def delete_version(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        return Reply(200 if self._world.store.remove(call.resource_id) else 204)

    def _create(self, call: Call, workspace: Resource, wanted: dict[str, Any]) -> Resource:
        if self._kind is MODELS:
            paths.check_model(self._world, workspace, wanted["modelUri"])
        container_id = call.resource_id.rpartition("/versions/")[0]
        container = self._world.store.get(container_id)
        if container is None:
            shown = {"dataType": wanted["dataType"]} if self._kind is DATA else {}
            container = self._new(call, workspace, container_id, self._kind.containers, shown)
        # Two versions of one moment still have an order.
        container.state["made"] = number = container.state.get("made", 0) + 1
        version = self._new(call, workspace, call.resource_id, self._kind.versions, wanted)
        version.state["number"] = number
        self._world.store.touch(container, call.at)
        if self._kind is MODELS:
            self._tell(version, container, workspace, call.at)
        return version

    def _tell(self, version: Resource, model: Resource, workspace: Resource, at: float) -> None:
        registered = {
            "modelName": model.name,
            "modelVersion": version.name,
            "modelTags": dict(version.properties["tags"]),
            "modelProperties": dict(version.properties["properties"]),
        }
        subject = f"models/{model.name}:{version.name}"
        signals.emit(self._world, signals.MODEL_REGISTERED, subject, registered, at, topic=workspace.id)

    def _new(
        self, call: Call, workspace: Resource, id_: str, type_: str, properties: dict[str, Any]
    ) -> Resource:
        shown = {"description": None, "tags": {}, "properties": {}, "isArchived": False, **properties}
        author = {"author": call.principal.identity.name}
        return self._world.store.put(
            Resource(id_, type_, workspace.location, call.at, call.at, properties=shown, state=author)
        )

    def _container(self, call: Call) -> Resource:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise self._no_container(call)
        return found

    def _version(self, call: Call) -> Resource:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is not None:
            return found
        if self._world.store.get(call.resource_id.rpartition("/versions/")[0]) is None:
            raise self._no_container(call)
        name, version = call.params["name"], call.params["version"]
        raise missing(
            f"{self._kind.title} with name: {name} and version: {version} not found.",
            f"{self._kind.title}NotFound",
        )

    def _no_container(self, call: Call) -> Exception:
        text = f"{self._kind.title} container with name: {call.params['name']} not found."
        return missing(text, f"{self._kind.title}NotFound")

    def _version_view(self, version: Resource) -> dict[str, Any]:
        body = view(version)
        body["properties"].setdefault("isAnonymous", False)
        if self._kind.has_state:
            body["properties"]["provisioningState"] = "Succeeded"
        return body

    def _container_view(self, container: Resource) -> dict[str, Any]:
        versions = _newest_first(self._world.store.of_type(self._kind.versions, container.id))
        numbers = [int(each.name) for each in versions if each.name.isdigit()]
        body = view(container)
        body["properties"]["latestVersion"] = versions[0].name if versions else None
        body["properties"]["nextVersion"] = str(max(numbers, default=0) + 1)
        if self._kind.has_state:
            body["properties"]["provisioningState"] = "Succeeded"
        return body


def find_version(world: World, workspace_id: str, plural: str, name: str, version: str) -> Resource | None:
    """A version of an asset: find_version(world, W, "environments", "train", "3"); "@latest" for `version` works."""
    container = f"{workspace_id}/{plural}/{name}"
    if version != "@latest":
        return world.store.get(f"{container}/versions/{version}")
    type_ = next(kind.versions for kind in KINDS if kind.plural == plural)
    return next(iter(_newest_first(world.store.of_type(type_, container))), None)


def _check_members(asked: dict[str, Any], known: set[str], owner: str) -> None:
    for name in asked:
        if name not in known:
            raise bad_member(name, owner, f"properties.{name}")


def _settable(asked: dict[str, Any]) -> dict[str, Any]:
    """What a PUT may set. Values of tags and properties are text, whatever was sent."""
    settable = {name: value for name, value in asked.items() if name not in READ_ONLY}
    for name in ("tags", "properties"):
        if name in settable:
            settable[name] = {key: str(value) for key, value in settable[name].items()}
    return settable


def _in_view(call: Call, found: Iterable[Resource]) -> list[Resource]:
    """Archived ones are out of sight unless asked for."""
    wanted = call.query.get("listviewtype", "ActiveOnly").casefold()
    if wanted == "all":
        return list(found)
    return [each for each in found if bool(each.properties.get("isArchived")) is (wanted == "archivedonly")]


def _filters(call: Call) -> Iterable[Callable[[Resource], bool]]:
    query = call.query
    if content := query.get("hash"):
        yield lambda each: _text(each.properties["properties"], "hash_sha256") == content
        if edition := query.get("hashversion"):
            yield lambda each: _text(each.properties["properties"], "hash_version") == edition
    if version := query.get("version"):
        yield lambda each: each.name == version
    if stage := query.get("stage"):
        yield lambda each: each.properties.get("stage") == stage
    for name, member in (("tags", "tags"), ("$tags", "tags"), ("properties", "properties")):
        for term in filter(None, query.get(name, "").split(",")):
            yield _has(member, term)


def _has(member: str, term: str) -> Callable[[Resource], bool]:
    """_has("tags", "run=r1"), or without the value: whatever the value is."""
    key, equals, value = term.partition("=")
    return lambda each: (
        key in each.properties[member] and (not equals or _text(each.properties[member], key) == value)
    )


def _text(mapping: dict[str, Any], key: str) -> str:
    return str(mapping.get(key, ""))


def _ordered(call: Call, found: list[Resource]) -> list[Resource]:
    order = " ".join(call.query.get("$orderby", _ORDERS[1]).casefold().split())
    if order not in _ORDERS:
        raise user_error(400, f"The order '{order}' is not one of {', '.join(_ORDERS)}.")
    newest_first = _newest_first(found)
    return newest_first if order.endswith("desc") else newest_first[::-1]


def _newest_first(found: Iterable[Resource]) -> list[Resource]:
    return sorted(found, key=lambda each: (each.created, each.state.get("number", 0), each.id), reverse=True)
