"""Datastores of the Azure ML workspace: how its assets name blobs that stay in the app's own account."""

from __future__ import annotations

import logging

from shared.azure import ml_client
from shared.config import settings
from shared.domain.errors import ConflictError

logger = logging.getLogger(__name__)


def datastore_uri(container: str) -> str:
    """The address of the workspace's datastore of that name, which must hold the app's container of that name.

    One that is not there is made, without credentials: whoever reads through it does so as itself.
    """
    account = settings().storage_account_url.removeprefix("https://").split(".", 1)[0]
    operations, what = ml_client.client().datastores, f"datastore {container}"
    seen = ml_client.looked(operations.get, f"read {what}", container)
    if seen.is_missing:
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": account,
            "containerName": container,
            "credentials": {"credentialsType": "None"},
            "description": "Muster's container of this name",
        }
        seen = ml_client.sent(
            operations.create_or_update, f"create {what}", container, {"properties": properties}
        )
        logger.info("datastore made", extra={"datastore": container})
    held = seen.body["properties"]
    if (held.get("accountName"), held.get("containerName")) != (account, container):
        raise ConflictError(
            f"{what} of the workspace holds {held.get('accountName')}/{held.get('containerName')}, not "
            f"{account}/{container}; rename it",
            code="DatastoreTaken",
            target=seen.body.get("id"),
        )
    workspace = ml_client.workspace()
    # As azure-ai-ml 1.35.2 spells it (constants._common.LONG_URI_FORMAT), with small letters in resourcegroups.
    return (
        f"azureml://subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}"
        f"/workspaces/{workspace.name}/datastores/{container}"
    )
