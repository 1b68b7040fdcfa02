"""The demonstration's drift: labelled months landed, a champion that knows only winter, and a monitor that breaches.

The monitor stands in for Azure ML's model monitoring, which the simulator does not run: a command job in the workspace
that fails with the tag a breached monitor leaves. Everything from the job's failure on is what Azure does.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from typing import Any

import pyarrow.compute as pc

from localdev.demo import champion, flights
from localdev.demo.world import World, wait_for

CHAMPION_MONTHS = (1, 2)
LANDED_MONTHS = (1, 2, 3, 4, 5, 6, 7, 8)
BREACH_TAG = "azureml_modelmonitor_threshold_breached"
CLUSTER, ENVIRONMENT = "monitors", "monitor"
OVER = ("Completed", "Failed", "Canceled")


def land_labelled(container: Any, prefix: str) -> list[tuple[str, str]]:
    """A Parquet file with `late` for each day from January to August. (name, etag) of the champion's months."""
    from azure.core.exceptions import ResourceExistsError

    table = flights.flown(LANDED_MONTHS)
    known: list[tuple[str, str]] = []
    for month in LANDED_MONTHS:
        rows = table.filter(pc.equal(table["month"], month))
        for day in range(1, pc.max(rows["day"]).as_py() + 1):
            name = f"{prefix}2013-{month:02d}-{day:02d}.parquet"
            data = flights.as_parquet(rows.filter(pc.equal(rows["day"], day)))
            with contextlib.suppress(ResourceExistsError):
                container.upload_blob(name, data, overwrite=False)
            if month in CHAMPION_MONTHS:
                known.append((name, container.get_blob_client(name).get_blob_properties().etag))
    return known


def crown(models: Any, name: str, landing: str, known: list[tuple[str, str]]) -> dict[str, Any]:
    """Train a champion on the winter, store it with its lineage. The model's card."""
    card = champion.train_and_store(models, name, months=CHAMPION_MONTHS)
    prefix = f"{name}/{champion.VERSION}/"
    items = [{"container": landing, "blob": blob, "etag": etag} for blob, etag in known]
    frozen = json.dumps({"train": items, "test": []}).encode()
    lineage = {
        "data": {
            "container": "models",
            "blob": f"{prefix}DATA.json",
            "sha256": hashlib.sha256(frozen).hexdigest(),
        }
    }
    models.upload_blob(f"{prefix}DATA.json", frozen, overwrite=True)
    models.upload_blob(f"{prefix}LINEAGE.json", json.dumps(lineage).encode(), overwrite=True)
    return card


def breach(world: World, monitor: str, run: str) -> str:
    """Run the monitor's job to its end in the simulated workspace, by plain azure-ai-ml. Its status."""
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it warns of classes that nobody here uses
    from azure.ai.ml import MLClient, command
    from azure.ai.ml.entities import AmlCompute, Environment
    from azure.identity import ManagedIdentityCredential

    _, _, subscription, _, group, *_, workspace = world.environment["MUSTER_ML_WORKSPACE"].split("/")
    credential = ManagedIdentityCredential(client_id=world.environment.get("AZURE_CLIENT_ID"))
    client = MLClient(credential, subscription, group, workspace, enable_telemetry=False)
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):  # the SDK prints dots
        client.compute.begin_create_or_update(
            AmlCompute(name=CLUSTER, size="Standard_D2s_v5", min_instances=0, max_instances=1)
        ).result()
        client.environments.create_or_update(
            Environment(name=ENVIRONMENT, version="1", image="library/python:3.13")
        )
        job = command(
            name=run,
            experiment_name=monitor,
            command="echo feature distributions have moved && sleep 4 && exit 1",
            environment=f"{ENVIRONMENT}:1",
            compute=CLUSTER,
        )
        client.jobs.create_or_update(job)
    wait_for(f"monitor run {run}", lambda: client.jobs.get(run).status == "Running", world=world)
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        found = client.jobs.get(run)  # a monitor marks its run while it is at work, right before it fails
        found.tags[BREACH_TAG] = (
            f"{monitor}_data_drift has failed due to one or more features violating metric thresholds"
        )
        client.jobs.create_or_update(found)
    status = wait_for(
        f"the end of monitor run {run}",
        lambda: status if (status := client.jobs.get(run).status) in OVER else None,
        world=world,
    )
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        client.compute.begin_delete(CLUSTER).result()
    return str(getattr(status, "value", status))
