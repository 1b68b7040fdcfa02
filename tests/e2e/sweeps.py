"""What a search that Azure ML ran must have left: one sweep, a record for each trial, and where its data came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e.test_cluster import node_bill, statuses
from tests.support.estate import Estate, Ran, wait


def sweep_through(here: Estate, run: Ran, patience_s: float) -> None:
    """See the run through: the app dies when the sweep was submitted, a trial that reports that it is far behind is
    stopped, and another loses its node."""
    wait(lambda: statuses(here, run), "the sweep to be submitted", patience_s)
    here.world.kill_app()
    here.world.start_app()
    wait(lambda: "Canceled" in str(statuses(here, run)), "the laggard to be stopped", patience_s)
    kept = f"runs/{run.id}/checkpoints/"
    wait(lambda: list(here.state.list_blobs(kept)), "a checkpoint", patience_s)
    done = f"runs/{run.id}/trials/t000.json"
    wait(lambda: here.read_json(here.state, done), "the good trial's record", patience_s)
    here.until(run, lambda report: "sweep sweep-e1 is Running: 1 of 3" in report["waiting_for"], patience_s)
    here.world.control.preempt_node(run.cluster_of(1))
    here.finish(run, patience_s)
    assert all(line["ended"] for line in node_bill(here, run.cluster_of(1)))


def check_swept(
    here: Estate, run: Ran, statuses: Mapping[str, Sequence[str]], records: Mapping[str, Mapping[str, Any]]
) -> None:
    """`statuses` are of the run's jobs by their names, `records` of its trials by their deeds."""
    outcome = run.outcome
    assert (outcome["state"], outcome["trials_valid"]) == ("Completed", 2), run.report
    sweeps = sorted(name for name in statuses if name.endswith("-sweep-e1"))
    assert len(sweeps) == 1 and statuses[sweeps[0]][-1] == "Completed"
    assert sorted(name for name in statuses if "sweep" in name) == [
        sweeps[0],
        *(f"{sweeps[0]}_{number}" for number in range(3)),
    ]
    told = {deed: (record["status"], record["reason"]) for deed, record in records.items()}
    assert told.pop("laggard") == ("failed", "stopped early")
    assert told == dict.fromkeys(("good", "resume"), ("valid", ""))
    assert records["resume"]["metrics"]["resumed"] == 1
    assert all(record["parameters"] == {"deed": deed} for deed, record in records.items())
    _check_lineage(here, run, records)


def _check_lineage(here: Estate, run: Ran, records: Mapping[str, Mapping[str, Any]]) -> None:
    """From the model to its data: in its own lineage, and by Azure ML's, from version to job to data asset."""
    lineage = here.read_json(here.service.get_container_client("models"), "swept-model/2/LINEAGE.json")
    found = {resource["id"]: resource["properties"] for resource in here.world.control.resources()}
    asset = found[run.outcome["data"]]
    version = next(each for id_, each in found.items() if id_.endswith("/models/swept-model/versions/2"))
    job = next(each for id_, each in found.items() if id_.endswith(f"/jobs/{version['jobName']}"))
    assert lineage["azureRun"] == version["jobName"] in {record["azure_run"] for record in records.values()}
    assert lineage["code"]["sha256"] == version["tags"]["codeDigest"]
    assert job["inputs"]["data"] == {"jobInputType": "uri_file", "uri": run.outcome["data"], "mode": "Direct"}
    assert asset["dataUri"].endswith(f"/datastores/muster/paths/runs/{run.id}/data.json")
    assert asset["tags"]["digest"] == lineage["data"]["sha256"] == version["tags"]["dataDigest"]
    assert (
        lineage["dataAsset"]
        == version["tags"]["dataAsset"]
        == f"azureml:swept-model-data:{asset['tags']['digest'][:16]}"
    )
