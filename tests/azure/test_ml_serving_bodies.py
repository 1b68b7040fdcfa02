"""What is sent for endpoints and deployments, and what is made of Azure's answers, where no server is needed."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from node import package
from shared.azure import (
    blob,
    ml_attach,
    ml_client,
    ml_codes,
    ml_deployments,
    ml_endpoints,
    ml_environments,
)
from shared.azure.arm import Answer
from shared.config import settings
from shared.domain.errors import ConflictError, PlatformError, SpecError, TransientError
from shared.domain.jobs import BlobRef
from shared.domain.registry import ModelRef
from shared.domain.serving import DeploymentPlan, DeploymentState, EnvironmentRef, Resources, Target
from tests.support.cloud import Cloud, environment

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
SHA256 = "0" * 64
PLAN = DeploymentPlan(
    target=Target(platform="aks", endpoint="live", compute="aks-prod"),
    name="d0000001",
    run="deploy-live-key-0123456789abcdef",
    epoch=3,
    deadline=NOW,
    model=ModelRef(
        name="late", version="4", flavor="sklearn", container="models", prefix="late/4/", file="model.joblib",
        sha256=SHA256,
    ),
    model_asset="azureml:late:4",
)  # fmt: skip
MANAGED = PLAN.model_copy(update={"target": Target(platform="managed_endpoint", endpoint="live")})


def body(plan: DeploymentPlan) -> dict[str, Any]:
    made: dict[str, Any] = ml_deployments.deployment_body(
        plan, settings(), code_id="CODE", script="muster_score.py", environment_id="ENV", model_id="MODEL"
    )
    return made


def test_a_pod_has_what_it_asks_for_and_no_more(cloud: Cloud) -> None:
    needs = Resources(cpu="2", memory="4Gi", gpu=1, instance_type="gpu", instances=3, max_concurrent=7)
    made = body(PLAN.model_copy(update={"resources": needs}))
    properties = made["properties"]

    told = properties["containerResourceRequirements"]
    assert told["containerResourceRequests"] == told["containerResourceLimits"]
    assert told["containerResourceLimits"] == {"cpu": "2", "memory": "4Gi", "gpu": "1"}
    assert (properties["endpointComputeType"], properties["instanceType"]) == ("Kubernetes", "gpu")
    assert (made["sku"], properties["scaleSettings"]) == (
        {"name": "Default", "capacity": 3},
        {"scaleType": "Default"},
    )
    assert properties["requestSettings"] == {
        "maxConcurrentRequestsPerInstance": 7,
        "requestTimeout": "PT5S",
        "maxQueueWait": "PT5S",
    }


def test_a_managed_instance_is_a_size_without_containers(cloud: Cloud) -> None:
    resources = Resources(instance_type="Standard_F2s_v2", request_timeout=timedelta(milliseconds=2500))
    properties = body(MANAGED.model_copy(update={"resources": resources}))["properties"]

    assert (properties["endpointComputeType"], properties["instanceType"]) == ("Managed", "Standard_F2s_v2")
    assert "containerResourceRequirements" not in properties
    assert properties["requestSettings"]["requestTimeout"] == "PT2.5S"


def test_the_script_is_told_its_model_and_no_secret(cloud: Cloud) -> None:
    url = "https://musterdev.blob.core.windows.net/modeldata"
    told = ml_deployments.environment_variables(PLAN.model_copy(update={"collect": url}), settings())

    assert (told["MUSTER_MODEL_SHA256"], told["MUSTER_MODEL"], told["MUSTER_VERSION"]) == (
        SHA256,
        "late",
        "4",
    )
    assert (told["MUSTER_SERVICE"], told["MUSTER_DEPLOYMENT"]) == ("live", "d0000001")
    assert told["MUSTER_WORKSPACE"] == ml_client.workspace().id
    assert (
        told["MUSTER_COLLECT"],
        "MUSTER_COLLECT" in ml_deployments.environment_variables(PLAN, settings()),
    ) == (
        url,
        False,
    )
    assert not [name for name in told if "KEY" in name or "SECRET" in name]


def test_a_larger_size_is_told_to_start_more_processes(cloud: Cloud) -> None:
    def workers(size: str) -> str:
        resources = Resources(instance_type=size, max_concurrent=8)
        plan = MANAGED.model_copy(update={"resources": resources})
        return ml_deployments.environment_variables(plan, settings())["WORKER_COUNT"]

    assert [workers(f"Standard_F{vcpus}s_v2") for vcpus in (2, 4, 16)] == ["2", "4", "8"]


def test_a_change_of_traffic_keeps_everything_else() -> None:
    endpoint = {
        "location": "westeurope",
        "tags": {"muster-app": "muster", "muster-epoch": "2", "costs": "team"},
        "identity": {"type": "UserAssigned", "principalId": "p", "userAssignedIdentities": {"ID": {"clientId": "c"}}},
        "systemData": {},
        "properties": {
            "authMode": "Key",
            "compute": "COMPUTE",
            "traffic": {"a": 100},
            "provisioningState": "Succeeded",
            "scoringUri": "https://x",
            "properties": {"azureml.onlineendpointid": "x"},
            "publicNetworkAccess": "Disabled",
        },
    }  # fmt: skip
    sent = ml_endpoints.traffic_body(endpoint, epoch=3, traffic={"a": 90, "b": 10})

    assert sent["tags"] == {"muster-app": "muster", "muster-epoch": "3", "costs": "team"}
    assert sent["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {"ID": {}}}
    assert sent["properties"] == {
        "authMode": "Key",
        "compute": "COMPUTE",
        "traffic": {"a": 90, "b": 10},
        "properties": {"azureml.onlineendpointid": "x"},
        "publicNetworkAccess": "Disabled",
    }


@pytest.mark.parametrize(
    ("age_s", "settled"), [(0, False), (59, False), (60, True), (None, False)]
)  # fmt: skip
def test_a_read_is_sure_once_the_last_change_is_old(age_s: int | None, settled: bool) -> None:
    told = {} if age_s is None else {"lastModifiedAt": (NOW - timedelta(seconds=age_s)).isoformat()}
    headers = {"Date": "Sun, 01 Mar 2026 02:00:00 GMT"}

    assert ml_endpoints.is_settled(Answer(200, headers, {"systemData": told})) is settled


@pytest.mark.parametrize(
    ("uri", "managed", "fits"),
    [
        ("https://live.westeurope.inference.ml.azure.com/score", True, True),
        ("http://live.westeurope.inference.ml.azure.com/score", True, False),
        ("https://live.westeurope.inference.ml.azure.com.evil.example/score", True, False),
        ("https://evil.example/score?live.westeurope.inference.ml.azure.com", True, False),
        ("https://user@live.westeurope.inference.ml.azure.com/score", True, False),
        ("http://20.50.1.2/api/v1/endpoint/live/score", False, True),
        ("https://score.contoso.example:8443/score", False, True),
        ("http://169.254.169.254/metadata/identity/oauth2/token", False, False),
        ("http://168.63.129.16/score", False, False),
        ("http://127.0.0.1:7071/admin", False, False),
        ("http://localhost/score", False, False),
        ("http://[::1]/score", False, False),
        ("file:///etc/passwd", False, False),
        ("http:///score", False, False),
    ],
)
def test_a_key_goes_to_a_model_s_address_only(uri: str, managed: bool, fits: bool) -> None:
    try:
        ml_endpoints.check_scoring_uri("live", uri, managed=managed)
    except PlatformError as error:
        assert not fits and error.code == "BadScoringUri"
    else:
        assert fits
    with pytest.raises(TransientError):
        ml_endpoints.check_scoring_uri("live", "", managed=managed)


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ("Creating", DeploymentState.CREATING),
        ("Scaling", DeploymentState.CREATING),
        ("Succeeded", DeploymentState.READY),
        ("Canceled", DeploymentState.FAILED),
        ("Deleting", DeploymentState.DELETING),
        ("SomethingOfNextYear", DeploymentState.CREATING),
    ],
)
def test_only_succeeded_is_ready(state: str, seen: DeploymentState) -> None:
    assert ml_deployments.state_of({"properties": {"provisioningState": state}}) is seen


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://evil.example/subscriptions/1/providers/x",
        "https://management.azure.com/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/x",
    ],
)
def test_a_failure_s_address_is_followed_only_to_azure_s_own_operations(uri: str) -> None:
    deployment = {"name": "d", "properties": {"properties": {"AzureAsyncOperationUri": uri}}}

    assert ml_deployments.failure_of(deployment) == ("", "")


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            made.writestr(name.replace("__", "/").replace("_py", ".py"), content)
    return buffer.getvalue()


def stored(data: bytes) -> BlobRef:
    sha256 = hashlib.sha256(data).hexdigest()
    blob.create_only("muster", f"code/{sha256}.zip", data)
    return BlobRef(container="muster", blob=f"code/{sha256}.zip", sha256=sha256)


def test_without_code_muster_s_own_script_serves(cloud: Cloud) -> None:
    files = ml_codes.serving_files(None, "score.py")

    assert package.SCORING_ENTRY in files and "node/serving/script.py" in files
    assert not [name for name in files if name.startswith("user_code/")]


def test_the_user_s_script_is_put_below_muster_s(cloud: Cloud) -> None:
    files = ml_codes.serving_files(stored(archive(score_py="user", lib__help_py="more")), "score.py")

    assert (files["user_code/score.py"], files["user_code/lib/help.py"]) == (b"user", b"more")
    assert json.loads(files["muster-serving.json"]) == {"entry": "score.py"}
    assert package.SCORING_ENTRY in files


def test_an_archive_that_is_whole_is_taken_as_it_is(cloud: Cloud) -> None:
    whole = package.build_serving({}, "")

    names = zipfile.ZipFile(io.BytesIO(whole.data)).namelist()
    assert ml_codes.serving_files(stored(whole.data), "score.py").keys() == set(names)


def test_code_that_is_not_what_was_fixed_or_leads_elsewhere_is_refused(cloud: Cloud) -> None:
    ref = stored(archive(score_py="user"))
    with pytest.raises(ConflictError):
        ml_codes.serving_files(ref.model_copy(update={"sha256": SHA256}), "score.py")
    with pytest.raises(SpecError, match=r"no other.py"):
        ml_codes.serving_files(ref, "other.py")
    with pytest.raises(SpecError, match="zip archive"):
        ml_codes.serving_files(stored(b"no zip"), "score.py")
    for name in ("../score.py", "/score.py", "a/../../score.py", "a\\score.py"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as made:
            made.writestr(zipfile.ZipInfo(name), "x")
        with pytest.raises(SpecError, match="a file called"):
            ml_codes.serving_files(stored(buffer.getvalue()), "score.py")


def test_the_same_files_are_one_code_version_however_they_were_packed(cloud: Cloud) -> None:
    files = {"score.py": b"one", "b.py": b"two"}
    first = ml_codes.ensure_code(files)
    since = cloud.mark()
    again = ml_codes.ensure_code(dict(reversed(files.items())))

    assert first == again and first != ml_codes.ensure_code({**files, "b.py": b"three"})
    first_look = cloud.control.events(since=since, type_="request")[0]
    assert first_look["method"] == "GET"


def test_an_environment_s_version_is_the_digest_of_what_goes_in(cloud: Cloud) -> None:
    own = ml_environments.serving_environment(EnvironmentRef())
    with environment({**cloud.settings, "MUSTER_ML_IMAGE": "mcr.microsoft.com/azureml/other:1"}):
        other = ml_environments.serving_environment(EnvironmentRef())
    image = f"registry.example/serving@sha256:{SHA256}"

    assert own != other and own == ml_environments.serving_environment(EnvironmentRef())
    assert ml_environments.serving_environment(EnvironmentRef(image=image)).count("/muster-image/") == 1
    theirs = ml_environments.serving_environment(EnvironmentRef(name="theirs", version="7"))
    assert theirs.endswith("/environments/theirs/versions/7")


def test_muster_s_environment_has_azure_s_server_and_the_agent_s_packages() -> None:
    conda = json.loads(ml_environments.conda_file())
    pip = conda["dependencies"][-1]["pip"]

    assert pip[0].startswith("azureml-inference-server-http==")
    assert [each for each in pip if each.startswith("scikit-learn==")]
    assert all("==" in each for each in pip)


@pytest.mark.parametrize(
    ("state", "attaching", "reason"),
    [("Creating", True, "it is Creating"), ("Failed", False, "ClusterServiceNotFound: no extension")],
)
def test_a_cluster_that_is_being_attached_is_told_from_one_that_failed(
    state: str, attaching: bool, reason: str
) -> None:
    errors = (
        [{"error": {"code": "ClusterServiceNotFound", "message": "no extension"}}] if not attaching else []
    )
    compute = {
        "name": "aks",
        "properties": {"computeType": "Kubernetes", "provisioningState": state, "provisioningErrors": errors},
    }
    look = ml_attach.target_of(compute, Resources(), None)

    assert (look.ready, look.attaching) == (False, attaching)
    assert reason in look.reason
