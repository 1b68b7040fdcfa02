"""Data assets of the Azure ML workspace: what a retraining froze, as Azure ML's lineage names it.

The asset is the manifest, which names every blob with its etag. The data stays where it is, and the store of record is
the run's own manifest: without a workspace there is nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from shared.azure import ml_client
from shared.azure.ml_datastores import datastore_uri
from shared.config import settings
from shared.domain.errors import ConflictError, PlatformError
from shared.domain.jobs import BlobRef

logger = logging.getLogger(__name__)

NO_WORKSPACE = "its data is no asset in Azure ML: MUSTER_ML_WORKSPACE is not set"
TYPE = "uri_file"
_DIGEST = "digest"
_MAX_TAG = 256  # characters of a tag's value


def version_of(manifest: BlobRef) -> str:
    """The same frozen data is the same version, whoever froze it and however often."""
    return manifest.sha256[:16]


def register_data(name: str, manifest: BlobRef, *, tags: Mapping[str, str], description: str = "") -> str:
    """Register the manifest as a version of the data asset `name`, and give its ARM id; "" without a workspace.

    Safe to repeat. A version that is there with this digest is the same data, of this run or of one before it, and
    stays as it is. Raises ConflictError if its digest is another, PlatformError if it is not read back.
    """
    if not settings().ml_workspace_id:
        logger.info(NO_WORKSPACE, extra={"data": name})
        return ""
    version = version_of(manifest)
    what, operations = f"data {name}:{version}", ml_client.client().data_versions
    seen = ml_client.looked(operations.get, f"read {what}", name, version)
    if seen.is_missing:
        body = {
            "properties": {
                "dataType": TYPE,
                "dataUri": f"{datastore_uri(manifest.container)}/paths/{manifest.blob}",
                "description": description,
                "tags": {key: value[:_MAX_TAG] for key, value in tags.items()} | {_DIGEST: manifest.sha256},
            }
        }
        ml_client.sent(operations.create_or_update, f"register {what}", name, version, body)
        seen = ml_client.looked(operations.get, f"read {what} back", name, version)
        if seen.is_missing or not _is_uri_file(seen.body):
            raise PlatformError(
                f"{what} was registered and is not read back as it was sent", code="NotReadBack"
            )
        logger.info("data registered", extra={"data": what, "manifest": manifest.blob})
    found = (seen.body["properties"].get("tags") or {}).get(_DIGEST)
    if found != manifest.sha256:
        raise ConflictError(
            f"{what} is of other data: its tag {_DIGEST} is {found}, not {manifest.sha256}",
            code="DataVersionTaken",
            target=seen.body.get("id"),
        )
    return str(seen.body["id"])


def short_name(asset: str) -> str:
    """`short_name(".../data/flights-data/versions/0a1b") -> "azureml:flights-data:0a1b"`; "" of none."""
    steps = asset.split("/")
    return f"azureml:{steps[-3]}:{steps[-1]}" if len(steps) > 3 else ""


def as_input(asset: str) -> dict[str, Any]:
    """The asset as an input of a job.

    "Direct": Azure ML notes what the job depends on and moves nothing. The agent reads the manifest itself, by the digest
    that is the asset's version, and the blobs by their etags: what Azure ML's lineage shows is what was trained on.
    """
    return {"data": {"jobInputType": TYPE, "uri": asset, "mode": "Direct"}}


def _is_uri_file(version: Mapping[str, Any]) -> bool:
    return bool(version["properties"].get("dataType") == TYPE)
