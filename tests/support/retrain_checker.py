"""The invariants of retraining runs at rest. What they are allowed to change is little, and all of it is on record."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from shared.domain.names import deployment_name
from tests.support.estate import Estate

PROMOTED = "Completed"
UNDECIDED_ABOUT_TRIALS = ("Failed", "Cancelled", "Deferred")


def retraining_violations(estate: Estate) -> list[str]:
    runs = [run for run in _ended_runs(estate) if run.startswith("train-")]
    outcomes = {run: estate.read_json(estate.state, f"runs/{run}/outcome.json") for run in runs}
    return [
        *(fault for run, outcome in outcomes.items() for fault in _trials_are_counted(estate, run, outcome)),
        *_one_version_for_a_run(estate, outcomes),
        *_titles_were_won(estate, outcomes),
        *(fault for run, outcome in outcomes.items() for fault in _audited_once(estate, run, outcome)),
    ]


def account_violations(estate: Estate) -> list[str]:
    """I15: what Azure bills for a run is within the run's own account, once it has released everything.

    What a run deployed serves on after its end, and is in its account until then.
    """
    billed: defaultdict[str, float] = defaultdict(float)
    for line in estate.world.control.bill()["lines"]:
        owner = line["tags"].get("muster-owner", "")
        if not line["resource_id"].endswith(f"/deployments/{deployment_name(owner)}"):
            billed[owner] += float(line["usd"])
    faults = []
    for run in _ended_runs(estate):
        outcome = estate.read_json(estate.state, f"runs/{run}/outcome.json")
        if outcome["teardown"] == "Clean" and billed[run] > outcome["usd"] + 1e-6:
            faults.append(f"I15 {run}: ${billed[run]:.6f} is billed, the account has ${outcome['usd']:.6f}")
    return faults


def _ended_runs(estate: Estate) -> list[str]:
    names = (blob.name for blob in estate.state.list_blobs("runs/"))
    return [name.split("/")[1] for name in names if name.endswith("/outcome.json")]


def _trials_are_counted(estate: Estate, run: str, outcome: dict[str, Any]) -> list[str]:
    """T1: a record for a planned trial only, whose model is there; a verdict only over all of them."""
    planned = [trial["id"] for trial in estate.read_json(estate.state, f"runs/{run}/trials.json") or ()]
    faults = [] if len(set(planned)) == len(planned) else [f"T1 {run}: a trial is planned twice"]
    records = _records(estate, run)
    if strangers := set(records) - set(planned):
        faults.append(f"T1 {run}: {sorted(strangers)} have a record and were not planned")
    for trial, record in records.items():
        model = record["model"]
        stored = model and estate.service.get_blob_client(model["container"], model["prefix"] + model["file"])
        if (record["status"] == "valid") != bool(stored and stored.exists()):
            faults.append(f"T1 {run}: trial {trial} is {record['status']} and its model {model}")
    counted = outcome["trials_valid"] + outcome["trials_failed"]
    if outcome["state"] not in UNDECIDED_ABOUT_TRIALS and counted != len(planned):
        faults.append(f"T1 {run}: {counted} trials are counted of {len(planned)}")
    return faults


def _records(estate: Estate, run: str) -> dict[str, dict[str, Any]]:
    prefix = f"runs/{run}/trials/"
    names = [blob.name.removeprefix(prefix) for blob in estate.state.list_blobs(prefix)]
    own = [name.removesuffix(".json") for name in names if name.endswith(".json") and "/" not in name]
    return {name: estate.read_json(estate.state, f"{prefix}{name}.json") for name in own}


def _one_version_for_a_run(estate: Estate, outcomes: dict[str, dict[str, Any]]) -> list[str]:
    """T2: a run registers one version or none, and says which; here and in Azure ML."""
    versions: dict[str, list[str]] = {}
    models = estate.service.get_container_client("models")
    for blob in models.list_blobs():
        name, _, rest = blob.name.partition("/")
        if rest.endswith("/LINEAGE.json"):
            run = estate.read_json(models, blob.name)["run"]
            versions.setdefault(run, []).append(f"{name}:{rest.partition('/')[0]}")
    in_azure: dict[str, list[str]] = {}
    for resource in estate.world.control.resources():
        if resource["type"].lower().endswith("/models/versions"):
            *_, name, _, version = resource["id"].split("/")
            run = (resource["properties"].get("tags") or {}).get("run", "")
            in_azure.setdefault(run, []).append(f"{name}:{version}")
    faults = []
    for run, outcome in outcomes.items():
        told = [outcome["registered"]] if outcome["registered"] else []
        for where, found in (("the store", versions), ("Azure ML", in_azure)):
            if found.get(run, []) != told:
                faults.append(f"T2 {run}: says it registered {told}, {where} has {found.get(run, [])}")
    return faults


def _titles_were_won(estate: Estate, outcomes: dict[str, dict[str, Any]]) -> list[str]:
    """T3: who holds a title holds it by a run that was Completed, or had it before any run."""
    models = estate.service.get_container_client("models")
    winners = {outcome["registered"]: outcome for outcome in outcomes.values() if outcome["registered"]}
    faults = []
    for blob in models.list_blobs():
        if not blob.name.endswith("/champion.json"):
            continue
        name = blob.name.partition("/")[0]
        title = f"{name}:{estate.read_json(models, blob.name)['version']}"
        if title in winners and winners[title]["state"] != PROMOTED:
            faults.append(f"T3 {title} is champion by {winners[title]['run']}: {winners[title]['state']}")
    for title, outcome in winners.items():
        if outcome["state"] == PROMOTED and outcome["verdict"] != "Promote":
            faults.append(f"T3 {title} was promoted on the verdict {outcome['verdict']}")
    return faults


def _audited_once(estate: Estate, run: str, outcome: dict[str, Any]) -> list[str]:
    """T4: one begin, one end, and the title moved once if it moved."""
    told = Counter(
        json.loads(estate.read(estate.state, blob.name) or b"{}")["what"]
        for blob in estate.state.list_blobs(f"audit/{run}/")
    )
    wanted = {"run started": 1, "run ended": 1, "champion changed": int(outcome["state"] == PROMOTED)}
    return [
        f"T4 {run}: {told[what]} times {what!r}, not {times}"
        for what, times in wanted.items()
        if told[what] != times
    ]
