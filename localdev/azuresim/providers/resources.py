"""Microsoft.Resources: groups, the lists of all resources, and the long operations of every provider.

Source: learn.microsoft.com rest/api/resources (2021-04-01). A list filtered by tag name *and* value leaves the tags
out, as documented there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from localdev.azuresim import paging
from localdev.azuresim.compute import parts
from localdev.azuresim.compute.lifecycle import VIRTUAL_MACHINES
from localdev.azuresim.compute.spec import check_tags, required_location
from localdev.azuresim.errors import ArmError
from localdev.azuresim.events import iso
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.shapes import READ_ONLY, check, members
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

VERSIONS = ("2020-06-01", "2021-04-01", "2022-09-01", "2023-07-01", "2024-03-01", "2024-07-01", "2025-04-01")
SUBSCRIPTION_VERSIONS = ("2016-06-01", "2019-11-01", "2020-01-01", "2021-01-01", "2022-12-01")
GROUPS = "Microsoft.Resources/resourceGroups"
_PAGE = 1000
_DELETE_S, _POLL_S = 60.0, 15.0
_UNTRACKED = {
    GROUPS.casefold(),
    "microsoft.network/virtualnetworks/subnets",
    "microsoft.compute/virtualmachines/runcommand",
    "microsoft.eventgrid/eventsubscriptions",
}
_WITH_OPERATIONS = (
    "Microsoft.Compute",
    "Microsoft.EventGrid",
    "Microsoft.MachineLearningServices",
    "Microsoft.Network",
    "Microsoft.Resources",
)
_WORKSPACES = "microsoft.machinelearningservices/workspaces"
_TERM = re.compile(r"(\w+)\s+(eq|ne)\s+'((?:[^']|'')*)'")
_SUBSTRING = re.compile(r"substringof\('((?:[^']|'')*)',\s*(\w+)\)")
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}"


def routes(world: World) -> list[Route]:
    resources = Resources(world)
    operations = [
        Route(
            "GET",
            f"/subscriptions/{{subscription}}/providers/{namespace}/locations/{{location}}/{kind}/{{operation}}",
            f"{namespace}/locations/{kind}/read",
            handler,
            (),
        )
        for namespace in _WITH_OPERATIONS
        for kind, handler in (
            ("operations", resources.operation),
            ("operationResults", resources.result),
            # Those of Azure ML's endpoints and deployments.
            ("mfeOperationsStatus", resources.operation),
            ("mfeOperationResults", resources.result),
        )
    ]
    group = Route("GET", _GROUP, f"{GROUPS}/read", resources.group, VERSIONS)
    return [
        *operations,
        Route("GET", "/subscriptions/{subscription}", "Microsoft.Resources/subscriptions/read", resources.subscription,
              SUBSCRIPTION_VERSIONS),
        Route("GET", "/subscriptions/{subscription}/resourceGroups", f"{GROUPS}/read", resources.groups, VERSIONS),
        group,
        Route("HEAD", _GROUP, f"{GROUPS}/read", resources.has_group, VERSIONS),
        Route("PUT", _GROUP, f"{GROUPS}/write", resources.put_group, VERSIONS),
        Route("DELETE", _GROUP, f"{GROUPS}/delete", resources.delete_group, VERSIONS),
        Route("GET", "/subscriptions/{subscription}/resources", "Microsoft.Resources/resources/read",
              resources.list, VERSIONS, is_action=True),
        Route("GET", f"{_GROUP}/resources", "Microsoft.Resources/resources/read", resources.list, VERSIONS,
              is_action=True),
    ]  # fmt: skip


class Resources:
    def __init__(self, world: World) -> None:
        self._world = world
        world.scheduler.register("group.deleted", self._group_deleted)

    def operation(self, call: Call) -> Reply:
        """The status of a long operation; readable after its end."""
        found = self._world.operations.get(call.params["operation"])
        if found is None:
            raise ArmError(404, "NotFound", f"The operation '{call.params['operation']}' was not found.")
        return Reply(200, found.view(), operation=found)

    def result(self, call: Call) -> Reply:
        found = self._world.operations.get(call.params["operation"])
        if found is None:
            raise ArmError(404, "NotFound", f"The operation '{call.params['operation']}' was not found.")
        if found.is_running:
            return Reply(202, operation=found)
        if found.error:
            return Reply(409, {"error": found.error}, operation=found)
        return Reply(200, found.result, operation=found)

    def subscription(self, call: Call) -> Reply:
        id_ = call.params["subscription"]
        return Reply(
            200,
            {
                "id": f"/subscriptions/{id_}",
                "subscriptionId": id_,
                "displayName": "azuresim",
                "state": "Enabled",
                "authorizationSource": "RoleBased",
            },
        )

    def groups(self, call: Call) -> Reply:
        found = self._world.store.of_type(GROUPS)
        return Reply(200, paging.page(call, [group.envelope() for group in found], _PAGE))

    def group(self, call: Call) -> Reply:
        return Reply(200, self._group(call).envelope())

    def has_group(self, call: Call) -> Reply:
        return Reply(204 if self._world.store.get(call.resource_id) else 404)

    def put_group(self, call: Call) -> Reply:
        body = call.document()
        check(body, {**members("location", "tags", "managedBy", "properties", *READ_ONLY)}, "ResourceGroup")
        check_tags(body.get("tags"))
        location = required_location(body, GROUPS)
        found = self._world.store.get(call.resource_id)
        group = found or Resource(call.resource_id, GROUPS, location, call.at, call.at)
        group.tags = dict(body.get("tags") or {})
        group.properties = {"provisioningState": "Succeeded"}
        self._world.store.put(group)
        return Reply(200 if found else 201, group.envelope())

    def delete_group(self, call: Call) -> Reply:
        """Everything in it goes with it, whatever its deleteOption."""
        group = self._world.store.get(call.resource_id)
        if group is None:
            raise _no_group(call)
        group.properties["provisioningState"] = "Deleting"
        operation = self._world.operations.begin_for(call, group, poll_after_s=_POLL_S)
        self._world.operations.then(operation, call.fault, _DELETE_S, "group.deleted", group=group.id)
        return Reply(202, operation=operation)

    def _group_deleted(self, at: float, group: str, operation: str) -> None:
        if not self._world.operations.is_running(operation):
            return
        inside = [each for each in self._world.store if each.id.casefold().startswith(f"{group}/".casefold())]
        for resource in inside:
            if resource.type == VIRTUAL_MACHINES:
                self._world.scheduler.at(at, "vm.erased", vm=resource.id)
            elif not resource.type.startswith(VIRTUAL_MACHINES):
                parts.remove(self._world, resource.id, at)
        parts.remove(self._world, group, at)
        self._world.operations.succeed(operation, at)

    def list(self, call: Call) -> Reply:
        """Every tracked resource below the scope that fits `$filter`, a thousand a page."""
        if "group" in call.params:
            self._group(call)
        scope = call.path.rpartition("/")[0].casefold() + "/"
        fits, with_tags = _filter(call.query.get("$filter", ""))
        expand = {name.strip() for name in call.query.get("$expand", "").split(",") if name.strip()}
        found = [
            _item(resource, expand, with_tags=with_tags)
            for resource in sorted(self._world.store, key=lambda each: each.id.casefold())
            if resource.id.casefold().startswith(scope) and _is_tracked(resource) and fits(resource)
        ]
        return Reply(200, paging.page(call, found, _PAGE))

    def _group(self, call: Call) -> Resource:
        id_ = "/".join(call.path.split("/")[:5])
        found = self._world.store.get(id_)
        if found is None:
            raise _no_group(call)
        return found


def _no_group(call: Call) -> ArmError:
    return ArmError(
        404, "ResourceGroupNotFound", f"Resource group '{call.params['group']}' could not be found."
    )


def _item(resource: Resource, expand: set[str], *, with_tags: bool) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": resource.id,
        "name": _name(resource),
        "type": resource.type,
        "location": resource.location,
    }
    item |= {
        name: value for name, value in resource.extra.items() if name in ("sku", "managedBy", "identity")
    }
    if with_tags and resource.tags:
        item["tags"] = dict(resource.tags)
    extra = {
        "createdTime": iso(resource.created),
        "changedTime": iso(resource.changed),
        "provisioningState": resource.provisioning_state,
    }
    return item | {name: value for name, value in extra.items() if name in expand}


def _is_tracked(resource: Resource) -> bool:
    """What is in a workspace is the workspace's own: Azure Resource Manager keeps no list of it."""
    type_ = resource.type.casefold()
    return type_ not in _UNTRACKED and not type_.startswith(f"{_WORKSPACES}/")


def _name(resource: Resource) -> str:
    """ "vm1" of a machine, "vm1/score" of a run command on it."""
    return "/".join(resource.id.partition("/providers/")[2].split("/")[2::2])


def _filter(text: str) -> tuple[Callable[[Resource], bool], bool]:
    """A test of a resource, and whether the tags are shown. Terms joined by `and` or, alone, by `or`."""
    if not text.strip():
        return (lambda resource: True), True
    joiner = " or " if " or " in text else " and "
    terms = [term.strip() for term in re.split(joiner, text)]
    by_tag = {}
    tests: list[Callable[[Resource], bool]] = []
    for term in terms:
        if found := _TERM.fullmatch(term):
            name, operator, value = found[1], found[2], found[3].replace("''", "'")
            if name.casefold() in ("tagname", "tagvalue"):
                by_tag[name.casefold()] = value
                continue
            tests.append(_comparison(name, operator, value, text))
        elif found := _SUBSTRING.fullmatch(term):
            tests.append(_contains(found[2], found[1], text))
        else:
            raise _invalid_filter(text)
    if by_tag and tests:
        raise _invalid_filter(text)
    if by_tag:
        return _has_tag(by_tag), "tagvalue" not in by_tag
    some = any if joiner == " or " else all
    return (lambda resource: some(test(resource) for test in tests)), True


def _has_tag(wanted: dict[str, str]) -> Callable[[Resource], bool]:
    name, value = wanted.get("tagname"), wanted.get("tagvalue")
    if name is None:
        raise ArmError(
            400, "InvalidFilterInQueryString", "tagValue can be filtered by together with tagName only."
        )

    def test(resource: Resource) -> bool:
        mine = {key.casefold(): each for key, each in resource.tags.items()}
        return name.casefold() in mine and value in (None, mine[name.casefold()])

    return test


def _comparison(name: str, operator: str, value: str, text: str) -> Callable[[Resource], bool]:
    read = _property(name, text)
    if operator == "ne":
        return lambda resource: read(resource).casefold() != value.casefold()
    return lambda resource: read(resource).casefold() == value.casefold()


def _contains(name: str, value: str, text: str) -> Callable[[Resource], bool]:
    read = _property(name, text)
    return lambda resource: value.casefold() in read(resource).casefold()


def _property(name: str, text: str) -> Callable[[Resource], str]:
    readers: dict[str, Callable[[Resource], str]] = {
        "resourcetype": lambda resource: resource.type,
        "name": lambda resource: resource.name,
        "location": lambda resource: resource.location,
        "resourcegroup": lambda resource: resource.group,
    }
    if name.casefold() not in readers:
        raise _invalid_filter(text)
    return readers[name.casefold()]


def _invalid_filter(text: str) -> ArmError:
    return ArmError(
        400,
        "InvalidFilterInQueryString",
        f"Invalid $filter '{text}' specified in the query string. Allowed are tagName and tagValue, or resourceType, "
        "name, location, resourceGroup and substringof.",
    )
