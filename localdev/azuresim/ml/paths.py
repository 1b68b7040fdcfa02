"""Where an asset's files are: the forms of `azureml:` paths, and the check that a model's files exist."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localdev.azuresim.errors import ArmError
from localdev.azuresim.ml import datastores
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

# azureml://subscriptions/S/resourcegroups/R/workspaces/W/datastores/D/paths/P, its short form azureml://datastores/D/
# paths/P, the ARM form that follows "azureml:", and the form of a run's own folder, azureml://datastores/D/P.
_DATASTORE_PATH = re.compile(r"azureml:.*?/datastores/([^/]+)/(?:paths/)?(.*)", re.IGNORECASE)
_FORMS = ("azureml:/", "runs:/", "https://")


@dataclass(frozen=True)
class BlobPath:
    account: str
    container: str
    path: str


def locate(world: World, workspace: Resource, uri: str) -> BlobPath | None:
    """The blobs a datastore path names; None if it is of another form. Raises the refusal of an unknown datastore."""
    match = _DATASTORE_PATH.fullmatch(uri)
    if match is None:
        return None
    place = datastores.place(world, workspace, match[1])
    if place is None:
        raise user_error(400, f"Datastore with name {match[1]} not found.")
    return BlobPath(place["accountName"], place["containerName"], match[2])


def check_model(world: World, workspace: Resource, uri: str) -> None:
    """Raises the refusal of a model whose path no service understands, or has no blobs behind it.

    Source: MicrosoftDocs/azure-docs issue 103778 (ModelAssetPathNotFoundInStorage).
    """
    if not uri.startswith(_FORMS):
        raise user_error(400, f"The model path '{uri}' is not valid.")
    place = locate(world, workspace, uri)
    if place is None or world.blobs is None:
        return
    if not world.blobs.holds(place.container, place.path.strip("/")):
        text = f"No blobs found in storage at model asset path: {place.container}/{place.path}"
        raise ArmError(
            400,
            "BadRequest",
            "The request is invalid.",
            details=[{"code": "ModelAssetPathNotFoundInStorage", "message": text}],
        )
