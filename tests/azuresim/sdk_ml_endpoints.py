"""A model put behind an endpoint with azure-ai-ml, as a program: its environment points it at the simulator.

Says what it saw in the end, as JSON on the last line. Run by test_sdk_endpoints.py; anybody's own program would look so.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    KubernetesOnlineDeployment,
    KubernetesOnlineEndpoint,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineDeployment,
    OnlineEndpoint,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential

WORKSPACE = os.environ["MUSTER_ML_WORKSPACE"].split("/")
SCORE = """
import json, os
from pathlib import Path

def init():
    global answer
    folder = Path(os.environ["AZUREML_MODEL_DIR"])
    answer = next(folder.rglob("model.txt")).read_text()
    print("the model says", answer)

def run(raw):
    return {"answer": answer, "rows": len(json.loads(raw)["data"])}
"""
BROKEN = "def init():\n    raise ValueError('no such tree')\n\ndef run(raw):\n    return {}\n"


def refusal(call: Callable[[], Any]) -> str:
    try:
        call()
    except ResourceNotFoundError:
        return "not found"
    except HttpResponseError as error:
        details = error.error.details if error.error else None
        return str((details[0].code if details else error.error.code) if error.error else error)
    return "accepted"


def deployment(
    kind: type[OnlineDeployment], folder: Path, name: str, endpoint: str, **settings: Any
) -> OnlineDeployment:
    return kind(
        name=name,
        endpoint_name=endpoint,
        model=Model(name=f"says-{name}", version="1", path=str(folder / name)),
        environment=Environment(
            name="serve", version="1", image="mcr.microsoft.com/azureml/minimal-py312-inference"
        ),
        code_configuration=CodeConfiguration(code=str(folder / "code"), scoring_script="score.py"),
        instance_count=1,
        tags={"of": name},
        **settings,
    )


def scored(endpoint: OnlineEndpoint, key: str, to: str = "") -> Any:
    headers = {"Authorization": f"Bearer {key}", **({"azureml-model-deployment": to} if to else {})}
    answer = requests.post(endpoint.scoring_uri, json={"data": [[1], [2]]}, headers=headers, timeout=30)
    return answer.json() if answer.status_code == 200 else answer.status_code


def on_a_cluster(ml: MLClient, folder: Path) -> dict[str, Any]:
    endpoint = KubernetesOnlineEndpoint(name="live", compute="aks-prod", auth_mode="key", tags={"epoch": "1"})
    made = ml.online_endpoints.begin_create_or_update(endpoint).result()
    for name in ("blue", "green"):
        one = deployment(
            KubernetesOnlineDeployment, folder, name, "live", instance_type="defaultinstancetype"
        )
        ml.online_deployments.begin_create_or_update(one).result()
    endpoint.traffic = {"blue": 100}
    traffic = ml.online_endpoints.begin_create_or_update(endpoint).result().traffic
    got = ml.online_endpoints.get("live")
    key = ml.online_endpoints.get_keys("live").primary_key
    seen: dict[str, Any] = {
        "made": [made.provisioning_state, made.tags, made.compute.rpartition("/")[2]],
        "traffic": [traffic, got.traffic],
        "scored": [scored(got, key), scored(got, key, "green"), scored(got, "wrong")],
        "logs": "the model says blue" in ml.online_deployments.get_logs("blue", "live", lines=50),
        "listed": sorted(each.name for each in ml.online_deployments.list("live")),
        "shown": ml.online_deployments.get("green", "live").tags,
    }

    def refused(traffic: dict[str, int]) -> str:
        endpoint.traffic = traffic
        return refusal(lambda: ml.online_endpoints.begin_create_or_update(endpoint).result())

    seen["refused"] = [refused({"blue": 60, "green": 60}), refused({"red": 100})]
    seen["deleted live"] = refusal(lambda: ml.online_deployments.begin_delete("blue", "live").result())
    (folder / "code" / "score.py").write_text(BROKEN)
    broken = deployment(
        KubernetesOnlineDeployment, folder, "broken", "live", instance_type="defaultinstancetype"
    )
    seen["broken"] = refusal(
        lambda: ml.online_deployments.begin_create_or_update(broken, skip_script_validation=True).result()
    )
    seen["broken state"] = ml.online_deployments.get("broken", "live").provisioning_state
    seen["broken log"] = "no such tree" in ml.online_deployments.get_logs("broken", "live", lines=100)
    ml.online_deployments.begin_delete("broken", "live").result()
    seen["left"] = sorted(each.name for each in ml.online_deployments.list("live"))
    ml.online_endpoints.begin_regenerate_keys("live", key_type="primary").result()
    fresh = ml.online_endpoints.get_keys("live").primary_key
    seen["new key"] = [fresh != key, scored(got, key), scored(got, fresh)["answer"]]
    ml.online_endpoints.begin_delete("live").result()
    seen["gone"] = refusal(lambda: ml.online_endpoints.get("live"))
    return seen


def managed(ml: MLClient, folder: Path) -> dict[str, Any]:
    (folder / "code" / "score.py").write_text(SCORE)
    made = ml.online_endpoints.begin_create_or_update(
        ManagedOnlineEndpoint(name="rented", auth_mode="key")
    ).result()
    one = deployment(ManagedOnlineDeployment, folder, "blue", "rented", instance_type="Standard_D2s_v5")
    ml.online_deployments.begin_create_or_update(one).result()
    made.traffic = {"blue": 100}
    ml.online_endpoints.begin_create_or_update(made).result()
    key = ml.online_endpoints.get_keys("rented").secondary_key
    seen = {
        "endpoints": [each.name for each in ml.online_endpoints.list()],
        "scored": scored(made, key),
        "head": ml.online_deployments.get_logs("blue", "rented", lines=50).splitlines()[0],
    }
    ml.online_endpoints.begin_delete("rented").result()
    return seen


def main() -> None:
    credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
    ml = MLClient(credential, WORKSPACE[2], WORKSPACE[4], WORKSPACE[8], enable_telemetry=False)
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "code").mkdir()
        (folder / "code" / "score.py").write_text(SCORE)
        for name in ("blue", "green", "broken"):
            (folder / name).mkdir()
            (folder / name / "model.txt").write_text(name)
        seen["kubernetes"] = on_a_cluster(ml, folder)
        seen["managed"] = managed(ml, folder)
    print(f"\n{json.dumps(seen)}")  # on a line of its own: the SDK prints dots while it waits


if __name__ == "__main__":
    main()
