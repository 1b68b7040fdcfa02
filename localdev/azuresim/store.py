"""The resources that exist. Ids compare without case and keep the case they were created with, as in ARM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Resource:
    """One ARM resource: `properties` and `extra` (identity, zones, sku, ...) as its GET shows them, `state` is ours."""

    id: str
    type: str
    location: str
    created: float
    changed: float
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    version: int = 1

    @property
    def name(self) -> str:
        return self.id.rpartition("/")[2]

    @property
    def group(self) -> str:
        return self.id.split("/")[4]

    @property
    def subscription(self) -> str:
        return self.id.split("/")[2]

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    @property
    def provisioning_state(self) -> str:
        return str(self.properties.get("provisioningState", "Succeeded"))

    def envelope(self) -> dict[str, Any]:
        """The members every resource shows, with its properties."""
        body = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "location": self.location,
            "tags": dict(self.tags),
            **self.extra,
            "properties": dict(self.properties),
        }
        return {key: value for key, value in body.items() if key != "tags" or value}


class Store:
    def __init__(self) -> None:
        self._resources: dict[str, Resource] = {}

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._resources.values()))

    def get(self, id_: str) -> Resource | None:
        return self._resources.get(id_.casefold())

    def put(self, resource: Resource) -> Resource:
        self._resources[resource.id.casefold()] = resource
        return resource

    def touch(self, resource: Resource, at: float) -> None:
        """Count a change: its etag is a new one from here on."""
        resource.version += 1
        resource.changed = at

    def remove(self, id_: str) -> Resource | None:
        return self._resources.pop(id_.casefold(), None)

    def of_type(self, type_: str, under: str = "") -> list[Resource]:
        """Resources of a type, by name; `under` is the id of a subscription, group or parent."""
        prefix = f"{under.rstrip('/')}/".casefold() if under else ""
        found = [
            resource
            for key, resource in self._resources.items()
            if resource.type.casefold() == type_.casefold() and key.startswith(prefix)
        ]
        return sorted(found, key=lambda resource: resource.id.casefold())

    def dump(self) -> list[dict[str, Any]]:
        return [asdict(resource) for resource in self._resources.values()]

    def load(self, state: list[dict[str, Any]]) -> None:
        self._resources = {}
        for item in state:
            self.put(Resource(**item))
