"""Datastores: those of the estate, others by PUT, and their secrets. Shape: mfe.json 2024-10-01-preview.

Secrets are answered as the account's key even where the SDK asks for one that expires: the SDK signs log URLs with
whatever it was given, which fails with anything but a key (azure-ai-ml 1.35.2, `_artifact_utilities.py`).
"""

from __future__ import annotations

from typing import Any

from localdev.azuresim.azurite import ACCOUNT_KEY
from localdev.azuresim.errors import invalid_parameter, not_simulated
from localdev.azuresim.ml.common import (
    VERSIONS,
    WORKSPACE,
    WORKSPACES,
    boolean,
    missing,
    page,
    properties_of,
    view,
    workspace_of,
)
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

DATASTORES = f"{WORKSPACES}/datastores"
_CREDENTIALS = ("AccountKey", "Sas", "None")


def routes(world: World) -> list[Route]:
    datastores = Datastores(world)
    all_, one = f"{WORKSPACE}/datastores", f"{WORKSPACE}/datastores/{{name}}"
    secrets = f"{DATASTORES}/listSecrets/action"
    return [
        Route("GET", all_, f"{DATASTORES}/read", datastores.list, VERSIONS),
        Route("GET", one, f"{DATASTORES}/read", datastores.get, VERSIONS),
        Route("PUT", one, f"{DATASTORES}/write", datastores.put, VERSIONS),
        Route("DELETE", one, f"{DATASTORES}/delete", datastores.delete, VERSIONS),
        Route("POST", f"{one}/listSecrets", secrets, datastores.list_secrets, VERSIONS, is_action=True),
    ]


class Datastores:
    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, call: Call) -> Reply:
        return Reply(200, view(self._existing(call)))

    def list(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        found = self._world.store.of_type(DATASTORES, workspace.id)
        if "isdefault" in call.query:
            wanted = boolean(call, "isdefault")
            found = [each for each in found if each.properties["isDefault"] is wanted]
        if names := call.query.get("names"):
            asked = {name.casefold() for name in names.split(",")}
            found = [each for each in found if each.name.casefold() in asked]
        if text := call.query.get("searchtext"):
            found = [each for each in found if text.casefold() in each.name.casefold()]
        if not boolean(call, "orderbyasc"):
            found.reverse()
        return Reply(200, page(call, [view(each) for each in found], limit="count"))

    def put(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        asked = properties_of(call)
        if asked.get("datastoreType") != "AzureBlob":
            raise not_simulated(
                f"A datastore of type {asked.get('datastoreType')}", "properties.datastoreType"
            )
        credentials = str((asked.get("credentials") or {}).get("credentialsType"))
        if credentials not in _CREDENTIALS:
            raise not_simulated(
                f"Credentials of type {credentials}", "properties.credentials.credentialsType"
            )
        for name in ("accountName", "containerName"):
            if not asked.get(name):
                raise invalid_parameter(f"The datastore has no {name}.", f"properties.{name}")
        found = self._world.store.get(call.resource_id)
        datastore = found or Resource(call.resource_id, DATASTORES, workspace.location, call.at, call.at)
        if asked.get("isDefault"):
            for other in self._world.store.of_type(DATASTORES, workspace.id):
                other.properties["isDefault"] = False
        datastore.properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isDefault": False,
            "endpoint": "core.windows.net",
            "protocol": "https",
            **asked,
            "credentials": {"credentialsType": credentials},
        }
        self._world.store.put(datastore)
        if found:
            self._world.store.touch(datastore, call.at)
        return Reply(200 if found else 201, view(datastore))

    def delete(self, call: Call) -> Reply:
        workspace_of(self._world, call)
        return Reply(200 if self._world.store.remove(call.resource_id) else 204)

    def list_secrets(self, call: Call) -> Reply:
        found = self._existing(call)
        if found.properties["credentials"]["credentialsType"] == "None":
            raise invalid_parameter(f"The datastore '{found.name}' has no credentials.", "name")
        return Reply(200, {"secretsType": "AccountKey", "key": ACCOUNT_KEY})

    def _existing(self, call: Call) -> Resource:
        workspace_of(self._world, call)
        found = self._world.store.get(call.resource_id)
        if found is None:
            raise missing(f"Datastore with name {call.params['name']} not found.")
        return found


def place(world: World, workspace: Resource, name: str) -> dict[str, Any] | None:
    """The account and container behind a datastore; None if there is no such datastore."""
    found = world.store.get(f"{workspace.id}/datastores/{name}")
    return found.properties if found else None
