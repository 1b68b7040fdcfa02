"""Publishing through Microsoft's own client, inside the simulated Azure: key, signature and token; both schemas."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.credentials import AzureKeyCredential, AzureSasCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient, generate_sas
from azure.identity import DefaultAzureCredential

HOST = "https://{}.westeurope-1.eventgrid.azure.net/api/events"


def publish(topic: str, credential: Any, events: Any) -> str:
    """ "sent", or the status and code of the refusal."""
    try:
        with EventGridPublisherClient(HOST.format(topic), credential, retry_total=0) as client:
            client.send(events)
    except ClientAuthenticationError as error:
        return f"{error.status_code}"
    except ResourceNotFoundError:
        return "not found"
    except HttpResponseError as error:
        return f"{error.status_code} {error.error.code if error.error else ''}"
    return "sent"


def main(keys: dict[str, str]) -> dict[str, Any]:
    grid = EventGridEvent("runs/1", "Muster.Test", {"n": 1}, "1.0", id="grid")
    cloud = CloudEvent("/tests", "Muster.Test", data={"n": 2}, id="cloud", subject="runs/2")
    raw = CloudEvent("/tests", "Muster.Test", data=b"bytes", id="raw")
    key = AzureKeyCredential(keys["grid-topic"])
    expiry = datetime.now(UTC) + timedelta(hours=1)
    signed = [
        AzureSasCredential(generate_sas(HOST.format("grid-topic"), keys["grid-topic"], moment))
        for moment in (expiry, expiry - timedelta(hours=2))
    ]
    return {
        "key": publish("grid-topic", key, grid),
        "token": publish("cloud-topic", DefaultAzureCredential(), [cloud, raw]),
        "signature": publish("grid-topic", signed[0], grid),
        "expired": publish("grid-topic", signed[1], grid),
        "wrong key": publish("grid-topic", AzureKeyCredential("d3Jvbmc="), grid),
        "wrong schema": publish("grid-topic", key, cloud),
        "wrong schema too": publish("cloud-topic", AzureKeyCredential(keys["cloud-topic"]), grid),
        "no topic": publish("nobody", key, grid),
        "too large": publish("grid-topic", key, EventGridEvent("s", "t", "x" * 1_100_000, "1")),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
