"""The JSON that the durable extension hands to a client binding: where the hub listens and how to manage instances."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote, urlencode

CONNECTION = "Storage"  # the name the extension gives to the app's own storage connection
WEBHOOK_PATH = "/runtime/webhooks/durabletask"
_PLACEHOLDER = "INSTANCEID"
_OPERATIONS = {
    "statusQueryGetUri": "",
    "sendEventPostUri": "/raiseEvent/{eventName}",
    "terminatePostUri": "/terminate?reason={text}",
    "rewindPostUri": "/rewind?reason={text}",
    "purgeHistoryDeleteUri": "",
    "restartPostUri": "/restart",
    "suspendPostUri": "/suspend?reason={text}",
    "resumePostUri": "/resume?reason={text}",
}


@dataclass(frozen=True)
class ClientBinding:
    """Builds management URLs for any instance; the origin is replaced by that of a request where there is one."""

    task_hub: str
    rpc_port: int
    origin: str  # http://127.0.0.1:PORT
    system_key: str | None

    def json(self) -> str:
        return json.dumps(
            {
                "taskHubName": self.task_hub,
                "creationUrls": self._creation_urls(),
                "managementUrls": {"id": _PLACEHOLDER, **self.urls(_PLACEHOLDER)},
                "baseUrl": self.origin + WEBHOOK_PATH,
                "httpBaseUrl": self.origin + WEBHOOK_PATH,
                "requiredQueryStringParameters": self._query(),
                "rpcBaseUrl": f"127.0.0.1:{self.rpc_port}",  # grpc for Python takes an address without a scheme
                "maxGrpcMessageSizeInBytes": 2**31 - 1,
                "grpcHttpClientTimeout": "00:01:40",
            }
        )

    def urls(self, instance_id: str, origin: str | None = None) -> dict[str, str]:
        base = f"{origin or self.origin}{WEBHOOK_PATH}/instances/{quote(instance_id, safe='')}"
        return {
            name: f"{base}{suffix}{'&' if '?' in suffix else '?'}{self._query()}"
            for name, suffix in _OPERATIONS.items()
        }

    def _creation_urls(self) -> dict[str, str]:
        base = f"{self.origin}{WEBHOOK_PATH}/orchestrators/{{functionName}}[/{{instanceId}}]"
        wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
        return {
            "createNewInstancePostUri": f"{base}?{self._query()}",
            "createAndWaitOnNewInstancePostUri": f"{base}?{wait}&{self._query()}",
        }

    def _query(self) -> str:
        pairs = {"taskHub": self.task_hub, "connection": CONNECTION}
        if self.system_key:
            pairs["code"] = self.system_key
        return urlencode(pairs)
