"""Where code is uploaded before it is registered: a container of its own and a signature for it.

Shape: mfe.json 2023-04-01, PendingUploadRequestDto and PendingUploadResponseDto. Every request gets a fresh container,
as the SDK says of the service ("will return a new SAS uri and blob uri every time").
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from localdev.azuresim import estate
from localdev.azuresim.blobs import container_signature
from localdev.azuresim.errors import not_simulated
from localdev.azuresim.ml.common import ASSET_VERSIONS, WORKSPACE, WORKSPACES, workspace_of
from localdev.azuresim.routing import Call, Reply, Route
from localdev.azuresim.world import World

_TEMPORARY = "TemporaryBlobReference"
_LIFETIME = timedelta(days=1)


def routes(world: World) -> list[Route]:
    path = f"{WORKSPACE}/codes/{{name}}/versions/{{version}}/startPendingUpload"
    action = f"{WORKSPACES}/codes/versions/startPendingUpload/action"
    return [Route("POST", path, action, Uploads(world).start, ASSET_VERSIONS, is_action=True)]


class Uploads:
    def __init__(self, world: World) -> None:
        self._world = world

    def start(self, call: Call) -> Reply:
        workspace = workspace_of(self._world, call)
        body = call.document()
        if body.get("pendingUploadType", _TEMPORARY) != _TEMPORARY:
            raise not_simulated(f"A pending upload of type {body['pendingUploadType']}", "pendingUploadType")
        if self._world.blobs is None:
            raise not_simulated("An upload to a simulator without storage", "name")
        id_ = str(uuid.uuid4())
        container = f"{str(workspace.properties['workspaceId'])[:10]}-{id_}"
        self._world.blobs.ensure_container(container)
        uri = self._world.blobs.url(container)
        signature = container_signature(container, "racwl", _LIFETIME)
        reference = {
            "blobUri": uri,
            "storageAccountArmId": estate.storage_account_id(),
            "credential": {"credentialType": "SAS", "sasUri": f"{uri}?{signature}"},
        }
        return Reply(
            200,
            {
                "pendingUploadId": str(body.get("pendingUploadId") or id_),
                "pendingUploadType": _TEMPORARY,
                "blobReferenceForConsumption": reference,
            },
        )
