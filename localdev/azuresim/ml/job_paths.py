"""Where a job's code, inputs and outputs are, as blobs of the account: every form of URI a job may name.

Forms: learn.microsoft.com machine-learning/how-to-read-write-data-v2 ("paths"), azure-ai-ml's own requests.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from localdev.azuresim import estate
from localdev.azuresim.ml import paths
from localdev.azuresim.ml.assets import find_version
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_HTTPS = re.compile(rf"https://{estate.STORAGE_ACCOUNT}\.blob\.core\.windows\.net(?::443)?/([^/?]+)/?([^?]*)")
_WASBS = re.compile(rf"wasbs://([^@]+)@{estate.STORAGE_ACCOUNT}\.blob\.core\.windows\.net/?(.*)")
_ASSET = re.compile(
    r"(?:azureml:)?(?://locations/[^/]+)?/?.*?/(data|models|codes|environments)/([^/]+)/versions/([^/]+)",
    re.IGNORECASE,
)
_SHORT = re.compile(r"azureml:([^:/]+):([^:/]+)")
_URI_OF = {"data": "dataUri", "models": "modelUri", "codes": "codeUri"}
ARTIFACT_STORE = "workspaceartifactstore"


def blobs_of(world: World, workspace: Resource, uri: str) -> tuple[str, str]:
    """Container and path of a URI. Raises the refusal of one that leads nowhere."""
    if found := paths.locate(world, workspace, uri):
        return found.container, unquote(found.path)
    for form in (_HTTPS, _WASBS):
        if match := form.fullmatch(uri):
            return match[1], unquote(match[2])
    if match := _ASSET.fullmatch(uri):
        return _asset(world, workspace, match[1].casefold(), match[2], match[3])
    if match := _SHORT.fullmatch(uri):
        return _asset(world, workspace, "data", match[1], match[2])
    raise user_error(400, f"The uri '{uri}' is not valid or is of a storage that is not simulated.")


def environment(world: World, workspace: Resource, id_: str) -> None:
    """Raises the refusal of an environment that is not there. Those of registries are taken as they are."""
    match = _ASSET.fullmatch(id_)
    if id_.startswith("azureml://registries/") or match is None:
        return
    if find_version(world, workspace.id, "environments", match[2], match[3]) is None:
        raise user_error(
            400, f"Environment {match[2]} with version {match[3]} was not found in the workspace."
        )


def check_asset(world: World, workspace: Resource, uri: str) -> None:
    """Raises the refusal of an asset that is not there; of a URI of any other form nothing is said."""
    for form in (_ASSET, _SHORT):
        if form.fullmatch(uri):
            blobs_of(world, workspace, uri)
            return


def output_uri(job: str, name: str, asked: Any) -> str:
    """Where an output goes: what was asked for, its placeholders filled in, or the workspace's own choice."""
    given = str(
        asked or "azureml://datastores/${{default_datastore}}/paths/azureml/${{name}}/${{output_name}}/"
    )
    default = next(iter(estate.ML_DATASTORES))
    for placeholder, value in (("default_datastore", default), ("name", job), ("output_name", name)):
        given = given.replace(f"${{{{{placeholder}}}}}", value)
    return given


def artifacts(job: str) -> str:
    """The folder of a run's logs and outputs in the artifact store."""
    return f"ExperimentRun/dcid.{job}"


def artifact_uri(job: str) -> str:
    """Without "paths", as the service has it: the SDK takes what follows the datastore for the folder of the logs."""
    return f"azureml://datastores/{ARTIFACT_STORE}/{artifacts(job)}"


def _asset(world: World, workspace: Resource, plural: str, name: str, version: str) -> tuple[str, str]:
    found = find_version(world, workspace.id, plural, name, version)
    if found is None or plural not in _URI_OF:
        raise user_error(
            400, f"{plural.capitalize()} {name} with version {version} was not found in the workspace."
        )
    return blobs_of(world, workspace, str(found.properties[_URI_OF[plural]]))
