"""Models in the registry."""

from __future__ import annotations

import json

from shared.azure import blob
from shared.domain.errors import NotFoundError, SpecError
from shared.domain.registry import CHAMPION, ModelQuery, ModelRef
from shared.durable import contracts
from shared.durable.blueprint import activity

CONTAINER = "models"


@activity(contracts.READ_MODEL)
def read_model(query: ModelQuery) -> ModelRef:
    """The model's fixed version and digest, so that a run never sees its model change under it.

    The model file itself is never opened here: it is a program, and this process holds an identity.
    """
    version = query.version if query.version != CHAMPION else _champion(query.name)
    prefix = f"{query.name}/{version}/"
    card = _card(prefix, f"model {query.name}:{version}")
    try:
        file, sha256, flavor = str(card["file"]), str(card["sha256"]), str(card["flavor"])
    except KeyError as missing:
        raise SpecError(
            f"{CONTAINER}/{prefix}MODEL.json has no {missing}; it must name file, sha256 and flavor"
        ) from None
    if not blob.exists(CONTAINER, prefix + file):
        raise NotFoundError(
            f"{CONTAINER}/{prefix}{file} is not there, though MODEL.json names it", code="ModelNotFound"
        )
    return ModelRef(
        name=query.name,
        version=version,
        flavor=flavor,
        container=CONTAINER,
        prefix=prefix,
        file=file,
        sha256=sha256,
    )


def _champion(name: str) -> str:
    alias = blob.read_or_none(CONTAINER, f"{name}/{CHAMPION}.json")
    if alias is None:
        raise NotFoundError(
            f"model {name} has no champion: {CONTAINER}/{name}/{CHAMPION}.json is not there; "
            "name a version in model.version, or make one champion",
            code="NoChampion",
        )
    return str(json.loads(alias)["version"])


def _card(prefix: str, what: str) -> dict[str, object]:
    data = blob.read_or_none(CONTAINER, f"{prefix}MODEL.json")
    if data is None:
        known = sorted(
            {
                b.name.split("/")[1]
                for b in blob.list_blobs(CONTAINER, prefix.split("/")[0] + "/")
                if b.name.count("/") > 1
            }
        )
        raise NotFoundError(
            f"{what} is not in container {CONTAINER}; versions there: {known or 'none'}", code="ModelNotFound"
        )
    card: dict[str, object] = json.loads(data)
    return card
