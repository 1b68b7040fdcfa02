"""A workspace's assets through azure-ai-ml, as a program: its environment points it at the simulator.

Says what it saw in the end, as JSON on the last line. Run by test_ml_assets.py; anybody's own program would look so.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient, command, dsl, load_component
from azure.ai.ml.constants import AssetTypes, MonitorDatasetContext
from azure.ai.ml.entities import (
    AzureBlobDatastore,
    BuildContext,
    CategoricalDriftMetrics,
    CronTrigger,
    Data,
    DataDriftMetricThreshold,
    DataDriftSignal,
    Environment,
    JobSchedule,
    Model,
    MonitorDefinition,
    MonitoringTarget,
    MonitorSchedule,
    NumericalDriftMetrics,
    ProductionData,
    RecurrencePattern,
    RecurrenceTrigger,
    ReferenceData,
    ServerlessSparkCompute,
)
from azure.ai.ml.entities._assets import Code
from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient

WORKSPACE = os.environ["MUSTER_ML_WORKSPACE"].split("/")
CREDENTIAL = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])


def client() -> MLClient:
    return MLClient(CREDENTIAL, WORKSPACE[2], WORKSPACE[4], WORKSPACE[8], enable_telemetry=False)


def refusal(call: Any) -> list[Any]:
    try:
        call()
    except HttpResponseError as error:
        return [error.status_code, error.error.code if error.error else "", str(error).splitlines()[0]]
    return ["accepted"]


def blob(container: str, name: str, content: bytes) -> None:
    service = BlobServiceClient(os.environ["MUSTER_STORAGE_ACCOUNT_URL"], CREDENTIAL)
    if not service.get_container_client(container).exists():
        service.create_container(container)
    service.get_blob_client(container, name).upload_blob(content, overwrite=True)


def workspaces_and_datastores(ml: MLClient) -> dict[str, Any]:
    workspace = ml.workspaces.get(WORKSPACE[8])
    ml.datastores.create_or_update(
        AzureBlobDatastore(name="landing", account_name="musterdev", container_name="landing")
    )
    return {
        "workspace": [workspace.name, workspace.location, workspace.discovery_url],
        "workspaces": [each.name for each in ml.workspaces.list()],
        "default": ml.datastores.get_default().name,
        "datastores": sorted(each.name for each in ml.datastores.list()),
        "container": ml.datastores.get("models").container_name,
        "secret": len(ml.datastores.get("models", include_secrets=True).credentials.account_key) > 40,
        "missing datastore": refusal(lambda: ml.datastores.get("none")),
    }


def environments(ml: MLClient, folder: Path) -> dict[str, Any]:
    conda = folder / "conda.yaml"
    conda.write_text("name: train\ndependencies: [python=3.12]\n")
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20250101.v1"
    made = ml.environments.create_or_update(
        Environment(name="train", version="1", image=image, conda_file=str(conda), tags={"a": "1"})
    )
    ml.environments.create_or_update(Environment(name="train", version="2", image=image))
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM scratch\n")
    built = ml.environments.create_or_update(
        Environment(name="built", version="1", build=BuildContext(path=str(folder / "context")))
    )
    other = Environment(name="train", version="1", image="mcr.microsoft.com/azureml/other:1")
    return {
        "made": [made.name, made.version, made.image == image, made.tags],
        "got": ml.environments.get("train", "1").conda_file,
        "latest": ml.environments.get("train", label="latest").version,
        "listed": [each.version for each in ml.environments.list("train")],
        "containers": sorted(each.name for each in ml.environments.list()),
        "build": built.build.path.startswith("https://musterdev.blob.core.windows.net"),
        "changed": refusal(lambda: ml.environments._version_operations.create_or_update(
            name="train", version="1", workspace_name=WORKSPACE[8], resource_group_name=WORKSPACE[4],
            body=other._to_rest_object(),
        )),
        "deduplicated": ml.environments.create_or_update(Environment(name="train", image=other.image)).version,
    }  # fmt: skip


def data(ml: MLClient, folder: Path) -> dict[str, Any]:
    (folder / "rows").mkdir()
    (folder / "rows" / "a.csv").write_text("x\n1\n")
    local = ml.data.create_or_update(Data(name="rows", path=str(folder / "rows"), type=AssetTypes.URI_FOLDER))
    remote = "azureml://datastores/landing/paths/flights/"
    registered = ml.data.create_or_update(
        Data(name="flights", version="7", path=remote, type=AssetTypes.URI_FOLDER, tags={"run": "r1"})
    )
    ml.data.create_or_update(
        Data(name="flights", version="8", path=f"{remote}2013/", type=AssetTypes.URI_FOLDER)
    )
    changed = Data(name="flights", version="7", path=f"{remote}other/", type=AssetTypes.URI_FOLDER)
    retagged = Data(name="flights", version="7", path=remote, type=AssetTypes.URI_FOLDER, tags={"run": "r2"})
    seen = {
        "local": [local.name, local.version, local.path.rpartition("/LocalUpload/")[2].count("/")],
        "registered": [registered.version, registered.type],
        "retagged": ml.data.create_or_update(retagged).tags,
        "changed": refusal(lambda: ml.data.create_or_update(changed)),
        "again": ml.data.create_or_update(
            Data(name="rows", path=str(folder / "rows"), type=AssetTypes.URI_FOLDER)
        ).version,
        "latest": ml.data.get("flights", label="latest").version,
        "author": registered.creation_context.created_by,
    }
    ml.data.archive("flights", version="7")
    seen["after archive"] = [each.version for each in ml.data.list("flights")]
    ml.data.restore("flights", version="7")
    seen["after restore"] = [each.version for each in ml.data.list("flights")]
    ml.data.archive("rows")
    seen["containers"] = [each.name for each in ml.data.list()]
    return seen


def models(ml: MLClient, folder: Path) -> dict[str, Any]:
    (folder / "model").mkdir()
    (folder / "model" / "model.joblib").write_bytes(b"a model")
    local = ml.models.create_or_update(Model(name="local", path=str(folder / "model")))
    second = ml.models.create_or_update(Model(name="local", path=str(folder / "model" / "model.joblib")))
    ml.models.download("local", "1", str(folder / "down"))
    blob("models", "flights-delay/1/model.joblib", b"the champion")
    path = "azureml://datastores/models/paths/flights-delay/1/"
    named = Model(name="flights-delay", version="1", path=path, type="custom_model",
                  tags={"run": "r1", "causedBy": "muster"}, properties={"auc": "0.7"})  # fmt: skip
    registered = ml.models.create_or_update(named)
    blob("models", "flights-delay/2/model.joblib", b"the next")
    moved = Model(name="flights-delay", version="1", path=path.replace("/1/", "/2/"))
    nowhere = Model(name="nowhere", version="1", path="azureml://datastores/models/paths/none/")
    lost = Model(name="lost", version="1", path="azureml://datastores/nostore/paths/none/")
    seen: dict[str, Any] = {
        "local": [local.version, second.version],
        "downloaded": sorted(each.name for each in (folder / "down").rglob("*.joblib")),
        "registered": [registered.version, registered.path.rpartition("/datastores/")[2], registered.tags],
        "got": [ml.models.get("flights-delay", "1").properties, ml.models.get("flights-delay", "1").type],
        "moved": refusal(lambda: ml.models.create_or_update(moved)),
        "nowhere": refusal(lambda: ml.models.create_or_update(nowhere)),
        "lost": refusal(lambda: ml.models.create_or_update(lost)),
        "missing": refusal(lambda: ml.models.get("flights-delay", "9")),
        "unknown": refusal(lambda: ml.models.get("unheard-of", "1")),
    }
    named.tags = {"run": "r1", "stage": "champion"}
    seen["retagged"] = ml.models.create_or_update(named).tags
    ml.models.archive("local", version="1")
    seen["after archive"] = [each.version for each in ml.models.list("local")]
    seen["archived"] = [each.version for each in ml.models.list("local", list_view_type="ArchivedOnly")]
    ml.models.restore("local", version="1")
    seen["after restore"] = [each.version for each in ml.models.list("local")]
    seen["containers"] = [[each.name, each.latest_version] for each in ml.models.list()]
    for number in range(2, 36):
        ml.models._model_versions_operation.create_or_update(
            name="flights-delay", version=str(number), workspace_name=WORKSPACE[8], resource_group_name=WORKSPACE[4],
            body=named._to_rest_object(),
        )  # fmt: skip
    seen["pages"] = [int(each.version) for each in ml.models.list("flights-delay")] == [*range(35, 0, -1)]
    return seen


def code_and_components(ml: MLClient, folder: Path) -> dict[str, Any]:
    source = folder / "source"
    source.mkdir()
    (source / "train.py").write_text("print('training')\n")
    code = ml._code.create_or_update(Code(name="train-code", version="1", path=str(source)))
    again = ml._code.create_or_update(Code(name="other-name", version="1", path=str(source)))
    ml._code.download("train-code", "1", str(folder / "source-back"))
    job = command(
        code=str(source), command="python train.py --rate ${{inputs.rate}}", environment="azureml:train:1",
        inputs={"rate": 0.1}, compute="ml-cluster", name="trial",
    )  # fmt: skip
    step = job.component
    step.name, step.version = "trial", "3"
    made = ml.components.create_or_update(step)
    (folder / "component.yaml").write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json\n"
        "type: command\nname: listed\nversion: 1\ncommand: echo hello\nenvironment: azureml:train:1\n"
    )
    ml.components.create_or_update(load_component(str(folder / "component.yaml")))
    return {
        "code": [
            code.name,
            code.version,
            code.path.startswith("https://musterdev.blob.core.windows.net:443/"),
        ],
        "same content": again.name,
        "back": [each.name for each in (folder / "source-back").rglob("*.py")],
        "component": [made.name, made.version, ml.components.get("trial", "3").command],
        "components": sorted(each.name for each in ml.components.list()),
    }


def drift_monitor() -> MonitorSchedule:
    signal = DataDriftSignal(
        reference_data=ReferenceData(
            input_data=Input(type="mltable", path="azureml:flights:7"),
            data_context=MonitorDatasetContext.TRAINING,
        ),
        production_data=ProductionData(
            input_data=Input(type="uri_folder", path="azureml:flights:8"),
            data_context=MonitorDatasetContext.MODEL_INPUTS,
        ),
        metric_thresholds=DataDriftMetricThreshold(
            numerical=NumericalDriftMetrics(jensen_shannon_distance=0.1),
            categorical=CategoricalDriftMetrics(pearsons_chi_squared_test=0.05),
        ),
        features=["distance"],
    )
    return MonitorSchedule(
        name="flights-monitor",
        trigger=RecurrenceTrigger(
            frequency="day", interval=1, schedule=RecurrencePattern(hours=3, minutes=15)
        ),
        create_monitor=MonitorDefinition(
            compute=ServerlessSparkCompute(instance_type="standard_e4s_v3", runtime_version="3.4"),
            monitoring_target=MonitoringTarget(ml_task="classification"),
            monitoring_signals={"drift": signal},
        ),
        tags={"muster-app": "muster"},
    )


def schedules(ml: MLClient, folder: Path) -> dict[str, Any]:
    step = command(command="echo hi", environment="azureml:train:1", compute="ml-cluster")

    @dsl.pipeline(default_compute="ml-cluster")  # type: ignore[untyped-decorator]
    def nightly() -> None:
        step()

    def names(which: str) -> list[str]:
        return sorted(each.name for each in ml.schedules.list(list_view_type=which))

    monitor = ml.schedules.begin_create_or_update(drift_monitor()).result()
    trigger = CronTrigger(expression="0 2 * * *", time_zone="UTC")
    job = ml.schedules.begin_create_or_update(
        JobSchedule(name="nightly", trigger=trigger, create_job=nightly())
    ).result()
    seen: dict[str, Any] = {
        "made": [monitor.is_enabled, job.is_enabled, monitor.tags],
        "enabled": names("EnabledOnly"),
        "delete enabled": refusal(lambda: ml.schedules.begin_delete("nightly").result()),
        "disabled": ml.schedules.begin_disable("nightly").result().is_enabled,
        "after disable": [names("EnabledOnly"), names("DisabledOnly"), names("All")],
    }
    got = ml.schedules.get("flights-monitor")
    seen["thresholds"] = got.create_monitor.monitoring_signals[
        "drift"
    ].metric_thresholds.numerical.jensen_shannon_distance
    ml.schedules.begin_delete("nightly").result()
    seen["left"] = names("All")
    return seen


def main() -> None:
    ml = client()
    seen: dict[str, Any] = {"workspaces": workspaces_and_datastores(ml)}
    for part in (environments, data, models, code_and_components, schedules):
        with tempfile.TemporaryDirectory() as folder:
            seen[part.__name__] = part(ml, Path(folder))
    print(f"\n{json.dumps(seen)}")  # on a line of its own: the SDK prints dots while it waits


if __name__ == "__main__":
    main()
