"""Did the retraining really happen? The gate, the registry, the cluster and the bill are read back where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localdev.demo.verify import Check
from localdev.demo.verify import books as _books
from localdev.demo.world import World, blob_service
from shared.domain.retraining import Retraining

RULINGS = ("Promote", "Rejected", "Inconclusive")


def verify(world: World, workload: Retraining, report: dict[str, Any]) -> list[Check]:
    outcome = report["outcome"]
    if not outcome or not outcome["table"]:
        return [
            Check(
                "verdict", False, f"{report['state']}: {report['error'] or (outcome or {}).get('reason', '')}"
            )
        ]
    service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
    return [
        *_trials(service, workload, report["id"], outcome),
        *_champion(world, service, workload, outcome),
        *_cluster(world, outcome),
        *_books(world, service, report["id"], outcome),
    ]


def _trials(service: Any, workload: Retraining, run: str, outcome: dict[str, Any]) -> list[Check]:
    state = service.get_container_client("muster")
    prefix = f"runs/{run}/trials/"
    records = [
        json.loads(state.download_blob(blob.name).readall())
        for blob in state.list_blobs(prefix)
        if blob.name.endswith(".json") and "/" not in blob.name.removeprefix(prefix)
    ]
    valid = sum(record["status"] == "valid" for record in records)
    return [
        Check("every trial has a record", len(records) == workload.trials.count, str(len(records))),
        Check("the outcome counts them", valid == outcome["trials_valid"], str(outcome["trials_valid"])),
        Check("gate", outcome["verdict"] in RULINGS, f"{outcome['verdict']}: {outcome['reason']}"),
    ]  # fmt: skip


def _champion(world: World, service: Any, workload: Retraining, outcome: dict[str, Any]) -> list[Check]:
    """Who holds the title, and what Azure ML's registry says of the version."""
    models = service.get_container_client("models")
    name = workload.model.name
    champion = json.loads(models.download_blob(f"{name}/champion.json").readall())["version"]
    if outcome["state"] != "Completed":
        return [
            Check("the champion stays", f"{name}:{champion}" == outcome["champion"], f"{name}:{champion}")
        ]
    lineage = json.loads(models.download_blob(f"{name}/{champion}/LINEAGE.json").readall())
    tags = _registered_tags(world, name, champion)
    return [
        Check(
            "the challenger is champion", f"{name}:{champion}" == outcome["registered"], f"{name}:{champion}"
        ),
        Check("its lineage names the run", lineage["run"] == outcome["run"], lineage["run"]),
        Check(
            "Azure ML has the version with its run",
            tags.get("run") == outcome["run"],
            ", ".join(sorted(tags)),
        ),
        Check("its deployment was asked for", bool(outcome["deployment"]), outcome["deployment"]),
    ]


def _registered_tags(world: World, name: str, version: str) -> dict[str, str]:
    from azure.ai.ml import MLClient
    from azure.identity import ManagedIdentityCredential

    _, _, subscription, _, group, *_, workspace = world.environment["MUSTER_ML_WORKSPACE"].split("/")
    credential = ManagedIdentityCredential(client_id=world.environment.get("AZURE_CLIENT_ID"))
    client = MLClient(credential, subscription, group, workspace, enable_telemetry=False)
    return dict(client.models.get(name, version=version).tags)


def _cluster(world: World, outcome: dict[str, Any]) -> list[Check]:
    lines = world.control.bill()["lines"]
    ours = [line for line in lines if "muster-lease" in (line.get("tags") or {})]
    running = [line for line in lines if line["ended"] is None]
    billed = sum(float(line["usd"]) for line in ours)
    return [
        Check("nodes still billed", not running, str(len(running))),
        Check("our account of the money covers Azure's bill", 0 < billed <= outcome["usd"] + 1e-6,
              f"${outcome['usd']:.4f} here, ${billed:.4f} on the simulator's meter"),
    ]  # fmt: skip


def summary(report: dict[str, Any], checks: list[Check], *, wall_s: float, state: Path) -> str:
    """The gate's table, the trials with what each cost, and what was read back."""
    outcome = report["outcome"] or {}
    lines = ["", f"{report['id']}: {report['state']}", f"  {outcome.get('reason', report['error'])}", ""]
    lines += [_trial(trial) for trial in outcome.get("trials", ())]
    if table := outcome.get("table"):
        lines += ["", f"  {'gate':<28} {'champion':>10} {'challenger':>10}  {'gain [interval]':<28} verdict"]
        lines += [_row(row) for row in table]
    lines.append("")
    lines += [f"  {'ok' if check.ok else 'FAULT':<12} {check.what}: {check.found}" for check in checks]
    verdict = "verified by reading it back" if all(c.ok for c in checks) else "NOT as claimed"
    lines.append(f"  {verdict}, {wall_s:.0f} s; everything is kept in {state} (app.log, hub.sqlite, azure/)")
    return "\n".join(lines)


def _trial(trial: dict[str, Any]) -> str:
    parameters = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in trial["parameters"].items()
    )
    told = f"{trial['metric']:.4f}" if trial["metric"] is not None else trial["reason"][:40]
    return f"  trial {trial['trial']}  {told}  {trial['seconds']:6.1f} s  ${trial['usd']:.5f}  {parameters}"


def _row(row: dict[str, Any]) -> str:
    gain = row["difference"]
    told = f"{gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]" if gain else ""
    champion, challenger = (
        "" if row[role] is None else f"{row[role]:.4f}" if row[role] < 10 else f"{row[role]:.0f}"
        for role in ("champion", "challenger")
    )
    return f"  {row['what']:<28} {champion:>10} {challenger:>10}  {told:<28} {row['ruling']}"
