"""Versions of models in the Azure ML workspace's registry. The files stay where they are: the version points to them.

The store of record is Blob Storage (activities/registry.py); this is what Azure ML's studio, its deployments and its
ModelRegistered event know of it. Without a workspace there is nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from shared.azure import arm, ml_client
from shared.azure.ml_datastores import datastore_uri
from shared.config import settings
from shared.domain.errors import ConflictError, PlatformError

logger = logging.getLogger(__name__)

NO_WORKSPACE = "not registered in Azure ML: MUSTER_ML_WORKSPACE is not set"
_MAX_TAG = 256  # characters of a tag's value


def register_version(
    name: str,
    version: str,
    *,
    container: str,
    prefix: str,
    tags: Mapping[str, str],
    description: str = "",
    job: str = "",
) -> str:
    """Register the blobs under `prefix` as `name`:`version`, and give its ARM id; "" where there is no workspace.

    `job`: the run of Azure ML that trained it, if one did: its lineage view leads from there to the data.

    Safe to repeat: a version that points to the same blobs gets the tags, and is read back. Raises ConflictError if it
    points elsewhere, PlatformError if what is read back is not what was sent.
    """
    if not settings().ml_workspace_id:
        logger.info(NO_WORKSPACE, extra={"model": f"{name}:{version}"})
        return ""
    what = f"model {name}:{version}"
    operations = ml_client.client().model_versions
    uri = f"{datastore_uri(container)}/paths/{prefix.strip('/')}/"
    seen = ml_client.looked(operations.get, f"read {what}", name, version)
    if not seen.is_missing and not _points_to(seen.body, uri):
        raise ConflictError(
            f"{what} is registered with other files: {seen.body['properties'].get('modelUri')}, not {uri}",
            code="ModelVersionTaken",
            target=seen.body.get("id"),
        )
    wanted = {key: value[:_MAX_TAG] for key, value in tags.items()}
    body = {
        "properties": {
            "modelUri": uri,
            "modelType": "custom_model",
            "description": description,
            "tags": wanted,
            **({"jobName": job} if job else {}),
        }
    }
    ml_client.sent(operations.create_or_update, f"register {what}", name, version, body)
    found = ml_client.looked(operations.get, f"read {what} back", name, version)
    if found.is_missing or not _points_to(found.body, uri) or not _has(found.body, wanted):
        raise PlatformError(f"{what} was registered and is not read back as it was sent", code="NotReadBack")
    logger.info("model registered", extra={"model": f"{name}:{version}", "uri": uri})
    return str(found.body["id"])


def is_archived(name: str, version: str) -> bool:
    """Whether somebody put the version, or the whole model, out of use in Azure ML. What is not there is not archived."""
    looks = (_plain_look(f"{name}/versions/{version}"), _plain_look(name))
    return any(look.get("isArchived") is True for look in looks)


def tags_of(name: str, version: str) -> dict[str, str]:
    """The tags of a version in Azure ML; none of one that is not there."""
    return dict(_plain_look(f"{name}/versions/{version}").get("tags") or {})


def read_version(name: str, version: str) -> dict[str, Any] | None:
    """A version as Azure ML shows it; None if it is not there, or there is no workspace."""
    if not settings().ml_workspace_id:
        return None
    seen = ml_client.looked(
        ml_client.client().model_versions.get, f"read model {name}:{version}", name, version
    )
    return None if seen.is_missing else dict(seen.body)


def _plain_look(path: str) -> dict[str, Any]:
    """A model's or a version's properties, by a plain request: for where a person or an event waits, since azure-ai-ml
    takes a second to load."""
    if not settings().ml_workspace_id:
        return {}
    answer = arm.request(
        "GET",
        f"{ml_client.workspace().id}/models/{path}",
        api_version=ml_client.ML_API,
        target=f"read model {path}",
        may_be_missing=True,
    )
    return dict(answer.body.get("properties") or {})


def _points_to(version: Mapping[str, Any], uri: str) -> bool:
    """Azure ML may spell names of its own in other cases, and ends a folder with a slash or not."""
    return str(version["properties"].get("modelUri")).rstrip("/").casefold() == uri.rstrip("/").casefold()


def _has(version: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
    found = version["properties"].get("tags") or {}
    return all(found.get(key) == value for key, value in tags.items())
