"""A day of a data scientist with azure-ai-ml, as a program: its environment points it at the simulator.

Says what it saw in the end, as JSON on the last line. Run by test_ml_jobs.py; anybody's own program would look so.
No `from __future__ import annotations`: dsl.pipeline wants its parameters' types, not their names.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient, Output, command, dsl
from azure.ai.ml.entities import (
    AmlCompute,
    Environment,
    IdentityConfiguration,
    ManagedIdentityConfiguration,
)
from azure.ai.ml.exceptions import JobException
from azure.ai.ml.sweep import Choice
from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient

WORKSPACE = os.environ["MUSTER_ML_WORKSPACE"].split("/")
CREDENTIAL = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
TRAIN = """
import json, os, sys
from pathlib import Path
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobServiceClient

data, rate, model = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
rows = data.read_text().split()
(model / "model.txt").write_text(f"{len(rows)} rows at {rate}")
json.dump({"auc": 1 - abs(rate - 0.3)}, open("outputs/metrics.json", "w"))
me = ManagedIdentityCredential(client_id=os.environ["DEFAULT_IDENTITY_CLIENT_ID"])
account = BlobServiceClient(os.environ["ACCOUNT"], me)
account.get_blob_client("results", os.environ["AZUREML_RUN_ID"]).upload_blob(os.environ["GREETING"])
print("trained on", len(rows), "rows")
"""


def main() -> None:
    client = MLClient(CREDENTIAL, WORKSPACE[2], WORKSPACE[4], WORKSPACE[8], enable_telemetry=False)
    account = BlobServiceClient(os.environ["MUSTER_STORAGE_ACCOUNT_URL"], CREDENTIAL)
    account.create_container("results")
    folder = Path(tempfile.mkdtemp())
    (folder / "train.py").write_text(TRAIN)
    (folder / "rows.txt").write_text("a b c")
    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
    environment = client.environments.create_or_update(Environment(name="train", version="1", image=image))
    seen: dict[str, Any] = {"cluster": make_cluster(client)}

    train = command(
        code=str(folder),
        command="python train.py ${{inputs.rows}} ${{inputs.rate}} ${{outputs.model}}",
        inputs={"rows": Input(type="uri_file", path=str(folder / "rows.txt")), "rate": 0.1},
        outputs={"model": Output(type="uri_folder")},
        environment=environment,
        compute="cpu",
        environment_variables={"ACCOUNT": os.environ["MUSTER_STORAGE_ACCOUNT_URL"], "GREETING": "hello"},
        experiment_name="flights",
    )
    seen |= one_job(client, account, train)
    sweep = train(rate=Choice([0.1, 0.3, 0.5])).sweep(
        sampling_algorithm="grid", primary_metric="auc", goal="maximize", compute="cpu"
    )
    sweep.set_limits(max_total_trials=3, max_concurrent_trials=2)
    swept = over(client, client.jobs.create_or_update(sweep).name)
    children = list(client.jobs.list(parent_job_name=swept.name))
    best = swept.properties["best_child_run_id"]
    seen["sweep"] = {
        "status": swept.status,
        "trials": sorted(child.status for child in children),
        "best": next(child.tags["rate"] for child in children if child.name == best),
        "score": float(swept.properties["score"]),
    }
    seen["pipeline"] = a_pipeline(client, environment)
    seen["cancelled"] = a_cancelled_job(client, environment)
    seen["failed"] = a_failed_job(client, environment)
    seen["refused"] = refused(client)
    client.compute.begin_delete("cpu").result()
    seen["left"] = [each.name for each in client.compute.list()]
    print(json.dumps(seen))


def make_cluster(client: MLClient) -> list[Any]:
    me = ManagedIdentityConfiguration(resource_id=os.environ["MUSTER_VM_IDENTITY_ID"])
    made = client.compute.begin_create_or_update(
        AmlCompute(
            name="cpu",
            size="Standard_D2s_v5",
            tier="low_priority",
            min_instances=0,
            max_instances=2,
            idle_time_before_scale_down=120,
            identity=IdentityConfiguration(type="UserAssigned", user_assigned_identities=[me]),
            tags={"muster-lease": "l1"},
        )
    ).result()
    return [made.provisioning_state, made.tier, made.max_instances]


def one_job(client: MLClient, account: BlobServiceClient, train: Any) -> dict[str, Any]:
    job = over(client, client.jobs.create_or_update(train).name)
    target = Path(tempfile.mkdtemp())
    client.jobs.download(job.name, download_path=target, output_name="model")
    (model,) = target.rglob("model.txt")
    artifacts = account.get_container_client("azureml")
    log = f"ExperimentRun/dcid.{job.name}/user_logs/std_log.txt"
    return {
        "job": job.status,
        "model": model.read_text(),
        "log": artifacts.download_blob(log).readall().decode(),
        "as itself": account.get_blob_client("results", job.name).download_blob().readall().decode(),
    }


def a_pipeline(client: MLClient, environment: Environment) -> list[Any]:
    write = command(
        name="write",
        command="echo ${{inputs.word}} > ${{outputs.text}}/word.txt",
        inputs={"word": Input(type="string")},
        outputs={"text": Output(type="uri_folder")},
        environment=environment,
    )
    shout = command(
        name="shout",
        command="tr a-z A-Z < ${{inputs.text}}/word.txt > ${{outputs.loud}}/word.txt",
        inputs={"text": Input(type="uri_folder")},
        outputs={"loud": Output(type="uri_folder")},
        environment=environment,
    )

    @dsl.pipeline(compute="cpu")  # type: ignore[untyped-decorator]
    def loudly(word: str) -> dict[str, Any]:
        first = write(word=word)
        second = shout(text=first.outputs.text)
        return {"loud": second.outputs.loud}

    job = over(client, client.jobs.create_or_update(loudly(word="hello"), experiment_name="words").name)
    target = Path(tempfile.mkdtemp())
    client.jobs.download(job.name, download_path=target, output_name="loud")
    (word,) = target.rglob("word.txt")
    steps = {step.display_name: step.status for step in client.jobs.list(parent_job_name=job.name)}
    return [job.status, steps, word.read_text().strip()]


def a_cancelled_job(client: MLClient, environment: Environment) -> str:
    job = client.jobs.create_or_update(command(command="sleep 3600", environment=environment, compute="cpu"))
    while client.jobs.get(job.name).status != "Running":
        time.sleep(0.05)
    client.jobs.begin_cancel(job.name).result()
    return str(client.jobs.get(job.name).status.value)


def a_failed_job(client: MLClient, environment: Environment) -> str:
    job = client.jobs.create_or_update(
        command(command="echo no such column && exit 3", environment=environment, compute="cpu")
    )
    try:
        client.jobs.stream(job.name)
    except JobException as error:
        return str(error)
    return "completed"


def refused(client: MLClient) -> str:
    big = AmlCompute(name="gpu", size="Standard_NC24ads_A100_v4", max_instances=1)
    try:
        client.compute.begin_create_or_update(big).result()
    except HttpResponseError as error:
        client.compute.begin_delete("gpu").result()
        return str(error)
    return "accepted"


def over(client: MLClient, name: str) -> Any:
    """The job when it is over; the bound is the caller's."""
    while (job := client.jobs.get(name)).status not in ("Completed", "Failed", "Canceled"):
        time.sleep(0.05)
    return job


if __name__ == "__main__":
    main()
