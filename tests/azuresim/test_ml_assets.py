"""A workspace's assets, datastores and schedules: through azure-ai-ml, and request by request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim import Control, Simulator
from localdev.azuresim.ml.common import ASSET_VERSIONS, VERSIONS
from localdev.clock import Clock
from tests.azuresim.azure_client import Azure, code, inside
from tests.azuresim.specifications import specs_dir

ROOT = Path(__file__).resolve().parents[2]
SUBSCRIPTION = "/subscriptions/11111111-1111-1111-1111-111111111111"
HOME = f"{SUBSCRIPTION}/resourceGroups/muster"
WORKSPACE = f"{HOME}/providers/Microsoft.MachineLearningServices/workspaces/muster-ml"
API = "https://westeurope.api.azureml.ms"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
BODIES: dict[str, dict[str, Any]] = {
    "models": {"modelUri": "azureml://jobs/j1/outputs/artifacts/paths/model/", "modelType": "custom_model"},
    "codes": {
        "codeUri": "https://musterdev.blob.core.windows.net:443/c1/src",
        "properties": {"hash_sha256": "abc", "hash_version": "202208"},
    },
    "data": {"dataUri": "azureml://datastores/landing/paths/flights/", "dataType": "uri_folder"},
    "environments": {"image": IMAGE, "osType": "Linux"},
    "components": {"componentSpec": {"name": "c", "version": "1", "type": "command", "command": "echo"}},
}
FROZEN: dict[str, dict[str, Any]] = {
    "models": {"modelUri": "azureml://jobs/j2/outputs/artifacts/paths/model/"},
    "codes": {"codeUri": "https://musterdev.blob.core.windows.net:443/c2/src"},
    "data": {"dataUri": "azureml://datastores/landing/paths/other/"},
    "environments": {"image": f"{IMAGE}:2"},
    "components": {"componentSpec": {"name": "c", "version": "1", "type": "command", "command": "ls"}},
}
SCHEDULE: dict[str, Any] = {
    "displayName": "nightly",
    "isEnabled": True,
    "trigger": {"triggerType": "Cron", "expression": "0 2 * * *", "timeZone": "UTC"},
    "action": {"actionType": "CreateJob", "jobDefinition": {"jobType": "Pipeline", "jobs": {}}},
}


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What the program sdk_ml_assets.py saw, its traffic held against Microsoft's specifications."""
    with Simulator(specs=specs_dir(), speed=100) as simulator:
        program = [sys.executable, "-m", "tests.azuresim.sdk_ml_assets"]
        ran = subprocess.run(
            program, env=inside(simulator.env), cwd=ROOT, capture_output=True, text=True, timeout=240
        )
        events = Control(simulator.control_url).events()
    assert ran.returncode == 0, ran.stderr
    assert [
        each for each in events if each["type"] in ("contract_violation", "defect", "proxy_refused")
    ] == []
    yield json.loads(ran.stdout.splitlines()[-1])


def test_the_sdk_finds_the_workspace_and_its_datastores(seen: dict[str, Any]) -> None:
    found = seen["workspaces"]
    assert found["workspace"] == ["muster-ml", "westeurope", f"{API}/discovery"]
    assert found["workspaces"] == ["muster-ml"]
    assert found["default"] == "workspaceblobstore"
    assert found["datastores"] == ["landing", "models", "workspaceartifactstore", "workspaceblobstore"]
    assert (found["container"], found["secret"]) == ("models", True)
    assert found["missing datastore"][:2] == [404, "UserError"]


def test_the_sdk_registers_environments_once(seen: dict[str, Any]) -> None:
    found = seen["environments"]
    assert found["made"] == ["train", "1", True, {"a": "1"}]
    assert found["got"]["dependencies"] == ["python=3.12"]
    assert (found["latest"], found["listed"]) == ("2", ["2", "1"])
    assert found["build"] is True
    assert found["changed"] == [
        409,
        "UserError",
        "(UserError) Environment train with version 1 is already registered and cannot be changed.",
    ]
    assert found["deduplicated"] == "3"


def test_the_sdk_uploads_tags_archives_and_restores_data(seen: dict[str, Any]) -> None:
    found = seen["data"]
    assert (found["local"], found["again"]) == (["rows", "1", 1], "2")
    assert found["registered"] == ["7", "uri_folder"]
    assert found["retagged"] == {"run": "r2"}
    assert found["changed"][:2] == [409, "UserError"]
    assert (found["latest"], found["author"]) == ("8", "muster-app")
    assert (found["after archive"], found["after restore"]) == (["8"], ["8", "7"])
    assert found["containers"] == ["flights"]


def test_the_sdk_registers_models_from_files_and_from_blobs(seen: dict[str, Any]) -> None:
    found = seen["models"]
    assert (found["local"], found["downloaded"]) == (["1", "2"], ["model.joblib"])
    assert found["registered"] == [
        "1",
        "models/paths/flights-delay/1/",
        {"run": "r1", "causedBy": "muster"},
    ]
    assert found["got"] == [{"auc": "0.7"}, "custom_model"]
    assert found["retagged"] == {"run": "r1", "stage": "champion"}
    assert (found["after archive"], found["archived"], found["after restore"]) == (["2"], ["1"], ["2", "1"])
    assert found["containers"] == [["flights-delay", "1"], ["local", "2"]]
    assert found["pages"] is True


def test_the_sdk_is_told_what_is_wrong_with_a_model(seen: dict[str, Any]) -> None:
    found = seen["models"]
    assert found["moved"] == [409, "UserError", "(UserError) Asset paths cannot be updated."]
    assert found["nowhere"][:2] == [400, "BadRequest"]
    assert found["lost"][2] == "(UserError) Datastore with name nostore not found."
    assert found["missing"][:2] == found["unknown"][:2] == [404, "UserError"]


def test_the_sdk_uploads_code_once_by_its_content(seen: dict[str, Any]) -> None:
    found = seen["code_and_components"]
    assert found["code"] == ["train-code", "1", True]
    assert found["same content"] == "train-code"
    assert found["back"] == ["train.py"]
    assert found["component"] == ["trial", "3", "python train.py --rate ${{inputs.rate}}"]
    assert found["components"] == ["listed", "trial"]


def test_the_sdk_makes_disables_and_deletes_schedules(seen: dict[str, Any]) -> None:
    found = seen["schedules"]
    assert found["made"] == [True, True, {"muster-app": "muster"}]
    assert found["enabled"] == ["flights-monitor", "nightly"]
    assert found["delete enabled"][:2] == [400, "UserError"]
    assert found["disabled"] is False
    assert found["after disable"] == [["flights-monitor"], ["nightly"], ["flights-monitor", "nightly"]]
    assert found["thresholds"] == 0.1
    assert found["left"] == ["flights-monitor"]


@pytest.fixture(scope="module")
def checked() -> Iterator[Azure]:
    with Simulator(specs=specs_dir(), storage=False, speed=500) as simulator:
        caller = Azure(simulator)
        yield caller
        assert caller.control.events(type_="contract_violation") == []


@pytest.mark.parametrize("version", ASSET_VERSIONS)
@pytest.mark.parametrize("plural", sorted(BODIES))
def test_every_answer_about_an_asset_is_as_specified(checked: Azure, plural: str, version: str) -> None:
    """In every version of the API: made, read, listed, archived, deleted."""
    container = f"{WORKSPACE}/{plural}/{plural}-{version}"
    one = f"{container}/versions/1"
    answers = [
        checked.send("PUT", one, {"properties": BODIES[plural]}, version=version),
        checked.send("GET", one, version=version),
        checked.send("PUT", one, {"properties": {**BODIES[plural], "isArchived": True}}, version=version),
        checked.send("GET", f"{container}/versions", version=version),
        checked.send("GET", container, version=version),
        checked.send("GET", f"{WORKSPACE}/{plural}", version=version),
        checked.send("DELETE", one, version=version),
        checked.send("DELETE", one, version=version),
        checked.send("GET", one, version=version),
    ]
    assert [each.status_code for each in answers] == [201, 200, 200, 200, 200, 200, 200, 204, 404]


@pytest.mark.parametrize("version", ASSET_VERSIONS)
def test_every_answer_about_a_schedule_is_as_specified(checked: Azure, version: str) -> None:
    path = f"{WORKSPACE}/schedules/s-{version}"
    made = checked.send("PUT", path, {"properties": SCHEDULE}, version=version)
    checked.control.advance(10)
    answers = [
        made,
        checked.send("GET", made.headers["Azure-AsyncOperation"]),
        checked.send("GET", path, version=version),
        checked.send("GET", f"{WORKSPACE}/schedules", version=version),
        checked.send("PUT", path, {"properties": {**SCHEDULE, "isEnabled": False}}, version=version),
        checked.send("DELETE", path, version=version),
    ]
    assert [each.status_code for each in answers] == [201, 200, 200, 200, 200, 202]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_answer_about_the_workspace_is_as_specified(checked: Azure, version: str) -> None:
    secrets = f"{WORKSPACE}/datastores/models/listSecrets"
    store = {"datastoreType": "AzureBlob", "accountName": "musterdev", "containerName": "landing"}
    store_body = {"properties": {**store, "credentials": {"credentialsType": "None"}}}
    answers = [
        checked.send("GET", WORKSPACE, version=version),
        checked.send(
            "GET", f"{HOME}/providers/Microsoft.MachineLearningServices/workspaces", version=version
        ),
        checked.send("GET", f"{WORKSPACE}/datastores", version=version),
        checked.send("GET", f"{WORKSPACE}/datastores/models", version=version),
        checked.send("PUT", f"{WORKSPACE}/datastores/d-{version}", store_body, version=version),
        checked.send("POST", secrets, version=version),
        checked.send("DELETE", f"{WORKSPACE}/datastores/d-{version}", version=version),
    ]
    assert [each.status_code for each in answers] == [200, 200, 200, 200, 201, 200, 200]


def put(azure: Azure, path: str, **properties: Any) -> Any:
    return azure.send("PUT", f"{WORKSPACE}/{path}", {"properties": properties})


@pytest.mark.parametrize("plural", sorted(BODIES))
def test_a_version_keeps_what_it_was_made_with(azure: Azure, plural: str) -> None:
    path = f"{plural}/a/versions/1"
    assert put(azure, path, **BODIES[plural]).status_code == 201
    refused = put(azure, path, **{**BODIES[plural], **FROZEN[plural]})
    assert code(refused) == (409, "UserError")
    kept = azure.get(f"{WORKSPACE}/{path}")["properties"]
    assert {name: kept[name] for name in BODIES[plural] if name != "properties"} == {
        name: value for name, value in BODIES[plural].items() if name != "properties"
    }
    assert put(azure, path, **BODIES[plural], tags={"a": "2"}).json()["properties"]["tags"] == {"a": "2"}


def test_versions_are_ordered_by_when_they_were_made(azure: Azure) -> None:
    for version in ("9", "10", "2"):
        put(azure, f"models/m/versions/{version}", **BODIES["models"])
    azure.control.advance(60)
    put(azure, "models/m/versions/1", **BODIES["models"])

    def listed(query: str = "") -> list[str]:
        found = azure.get(f"{WORKSPACE}/models/m/versions?api-version=2023-08-01-preview{query}")
        return [each["name"] for each in found["value"]]

    assert listed() == ["1", "2", "10", "9"]
    assert listed("&$orderBy=createdtime asc") == ["9", "10", "2", "1"]
    assert listed("&$orderBy=createdtime desc&$top=1") == ["1"]
    container = azure.get(f"{WORKSPACE}/models/m")["properties"]
    assert (container["latestVersion"], container["nextVersion"]) == ("1", "11")


def test_a_version_says_who_made_it_and_when(azure: Azure) -> None:
    made = put(azure, "data/d/versions/1", **BODIES["data"]).json()["systemData"]
    azure.control.advance(3600)
    changed = put(azure, "data/d/versions/1", **BODIES["data"], description="x").json()["systemData"]
    assert (made["createdBy"], made["createdAt"][:16]) == ("host", "2026-03-01T02:00")
    assert changed["createdAt"] == made["createdAt"]
    assert changed["lastModifiedAt"][:16] == "2026-03-01T03:00"


def test_a_container_changes_with_its_versions(azure: Azure) -> None:
    put(azure, "models/m/versions/1", **BODIES["models"])
    azure.control.advance(3600)
    put(azure, "models/m/versions/2", **BODIES["models"])
    told = azure.get(f"{WORKSPACE}/models/m")["systemData"]
    assert (told["createdAt"][:16], told["lastModifiedAt"][:16]) == ("2026-03-01T02:00", "2026-03-01T03:00")


def test_models_are_found_by_tag_and_property(azure: Azure) -> None:
    put(azure, "models/m/versions/1", **BODIES["models"], tags={"run": "r1"}, properties={"auc": "0.7"})
    put(azure, "models/m/versions/2", **BODIES["models"], tags={"run": "r2"})

    def names(query: str) -> list[str]:
        path = f"{WORKSPACE}/models/m/versions?api-version=2023-08-01-preview&{query}"
        return [each["name"] for each in azure.get(path)["value"]]

    assert names("tags=run") == ["2", "1"]
    assert names("tags=run=r1") == ["1"]
    assert names("properties=auc") == ["1"]
    assert names("version=2") == ["2"]


def test_a_registered_model_is_an_event(azure: Azure) -> None:
    put(azure, "models/m/versions/3", **BODIES["models"], tags={"causedBy": "muster"})
    put(azure, "models/m/versions/3", **BODIES["models"], tags={"causedBy": "nobody"})
    (told,) = azure.control.events(type_="ml_event")
    assert told["event_type"] == "Microsoft.MachineLearningServices.ModelRegistered"
    assert (told["topic"], told["subject"]) == (WORKSPACE, "models/m:3")
    assert told["data"] == {
        "modelName": "m",
        "modelVersion": "3",
        "modelTags": {"causedBy": "muster"},
        "modelProperties": {},
    }


def test_what_is_missing_is_named(azure: Azure) -> None:
    put(azure, "models/m/versions/1", **BODIES["models"])
    for path, text in (
        ("models/m/versions/2", "Model with name: m and version: 2 not found."),
        ("models/n", "Model container with name: n not found."),
        ("datastores/none", "Datastore with name none not found."),
    ):
        answer = azure.send("GET", f"{WORKSPACE}/{path}")
        assert code(answer) == (404, "UserError")
        assert answer.json()["error"]["details"][0]["message"] == text
    assert code(azure.send("GET", f"{WORKSPACE}x/models/m")) == (404, "ResourceNotFound")
    assert azure.send("GET", f"{WORKSPACE}/environments/none/versions").json() == {"value": []}


def test_a_body_that_is_not_an_assets_is_refused(azure: Azure) -> None:
    path = f"{WORKSPACE}/models/m/versions/1"
    assert azure.send("PUT", path, {}).status_code == 400
    assert put(azure, "models/m/versions/1", modelType="custom_model").status_code == 400
    assert put(azure, "models/m/versions/1", **BODIES["models"], modelPath="x").status_code == 400
    assert put(azure, "models/m/versions/1", modelUri="/home/me/model").status_code == 400
    assert code(azure.send("GET", path)) == (404, "UserError")


def test_a_schedule_takes_a_moment(azure: Azure) -> None:
    made = put(azure, "schedules/s", **SCHEDULE)
    assert made.json()["properties"]["provisioningState"] == "Creating"
    operation = made.headers["Azure-AsyncOperation"]
    assert azure.get(operation)["status"] == "InProgress"
    azure.control.advance(10)
    assert azure.get(operation)["status"] == "Succeeded"
    put(azure, "schedules/s", **{**SCHEDULE, "isEnabled": False})
    azure.control.advance(10)
    deleted = azure.send("DELETE", f"{WORKSPACE}/schedules/s")
    assert (
        deleted.status_code,
        azure.get(f"{WORKSPACE}/schedules/s")["properties"]["provisioningState"],
    ) == (
        202,
        "Deleting",
    )
    azure.control.advance(10)
    assert code(azure.send("GET", f"{WORKSPACE}/schedules/s")) == (404, "UserError")


def test_only_the_workspace_itself_is_among_the_groups_resources(azure: Azure) -> None:
    put(azure, "models/m/versions/1", **BODIES["models"])
    found = azure.get(f"{HOME}/resources")["value"]
    kinds = {each["type"] for each in found if each["type"].startswith("Microsoft.MachineLearningServices")}
    assert kinds == {"Microsoft.MachineLearningServices/workspaces"}


def test_a_workspace_is_kept_over_a_restart(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock.json")  # the second world is later than the first
    with Simulator(clock=clock, storage=False, state=tmp_path) as simulator:
        put(Azure(simulator), "models/m/versions/1", **BODIES["models"])
    clock.advance(timedelta(seconds=5))
    with Simulator(clock=clock, storage=False, state=tmp_path) as simulator:
        assert put(Azure(simulator), "models/m/versions/2", **BODIES["models"]).status_code == 201
        versions = Azure(simulator).get(f"{WORKSPACE}/models/m/versions")["value"]
    assert [each["name"] for each in versions] == ["2", "1"]


def test_discovery_is_for_everybody_and_run_history_is_not(azure: Azure) -> None:
    found = azure.plain("GET", f"{API}/discovery").json()
    assert (found["api"], found["history"]) == (API, API)
    run = f"{API}/history/v1.0{WORKSPACE}/runs/none/details"
    assert azure.plain("GET", run).status_code == 401
    token = azure.identity(resource="https://ml.azure.com").json()["access_token"]
    missing = azure.plain("GET", run, headers={"Authorization": f"Bearer {token}"})
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "Run none was not found")
    assert missing.json()["location"] == "westeurope"
