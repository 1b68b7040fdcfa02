"""Did it really happen? Traffic, records, the client's own count and the audit are read back where they are."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from localdev.demo import champion, versions
from localdev.demo.verify import Check
from localdev.demo.verify import books as _books
from localdev.demo.world import World, blob_service
from shared.domain.deployment import Deployment
from shared.domain.names import deployment_name

type Reports = dict[str, dict[str, Any]]
WANTED = {champion.VERSION: "Completed", versions.BETTER: "Completed", versions.CARELESS: "RolledBack"}


def verify(
    world: World, workload: Deployment, told: Reports, good: dict[str, Any], counted: dict[str, Any]
) -> list[Check]:
    """`good`: the client's count when the good version had taken over; `counted`: at the end."""
    outcomes = {version: report.get("outcome") or {} for version, report in told.items()}
    return [
        *_ends(outcomes),
        Check(
            "nobody approves what he asked for himself",
            all(report["own_word"].startswith("403") for report in told.values()),
            told[versions.BETTER]["own_word"],
        ),
        *_traffic(world, workload, outcomes),
        *_client(outcomes, good, counted),
        *_record(world, workload, outcomes),
        *_chains(world, told, outcomes),
    ]


def _ends(outcomes: Reports) -> list[Check]:
    return [
        Check(f"version {version} ends {WANTED[version]}", outcome.get("state") == WANTED[version],
              f"{outcome.get('state')}: {outcome.get('reason')}")
        for version, outcome in outcomes.items()
    ]  # fmt: skip


def _traffic(world: World, workload: Deployment, outcomes: Reports) -> list[Check]:
    """What Azure ML has now, by plain azure-ai-ml, and every map it ever accepted."""
    live = outcomes[versions.BETTER].get("live", "").partition("@")[0]
    endpoint = workload.target.endpoint
    now = {
        name: weight
        for name, weight in ml_client(world).online_endpoints.get(endpoint).traffic.items()
        if weight
    }
    maps = [event["traffic"] for event in events(world, endpoint)]
    bad = green(outcomes[versions.CARELESS])
    most = max((weights.get(bad, 0) for weights in maps), default=0)
    return [
        Check("Azure ML sends everything to the better version", now == {live: 100}, str(now)),
        Check("every accepted map sums to 100", bool(maps) and all(sum(each.values()) == 100 for each in maps),
              f"{len(maps)} maps"),
        Check("the bad version never had more than a tenth", 0 < most <= 10, f"{most} %"),
    ]  # fmt: skip


def _client(outcomes: Reports, good: dict[str, Any], counted: dict[str, Any]) -> list[Check]:
    by = {name: _failures(answers) for name, answers in counted["deployments"].items()}
    bad = green(outcomes[versions.CARELESS])
    others = sum(count for name, count in by.items() if name != bad)
    return [
        Check("failed requests of the client up to the good version's commit", good["failed"] == 0,
              f"{good['failed']} of {good['answered']:,}"),
        Check("failed requests afterwards that the bad version did not answer", others == 0,
              f"{others} of {counted['answered']:,}; {by.get(bad, 0)} by the bad version"),
        Check("every request has an answer", counted["sent"] == counted["answered"], f"{counted['sent']:,}"),
    ]  # fmt: skip


def _failures(answers: dict[str, Any]) -> int:
    return sum(count for status, count in answers.items() if status not in ("200", "p50_ms", "p95_ms"))


def _record(world: World, workload: Deployment, outcomes: Reports) -> list[Check]:
    endpoint = workload.target.endpoint
    found = _json(world, f"endpoints/{endpoint}.json")
    kept = [each["deployment"]["name"] for each in found["kept"]]
    live, wanted = found["live"]["model"], f"{workload.model.name}:{versions.BETTER}"
    bad = green(outcomes[versions.CARELESS])
    there = sorted(each.name for each in ml_client(world).online_deployments.list(endpoint))
    return [
        Check("the record has the better version live", live == wanted, live),
        Check("the bad version is kept aside at 0 % to be looked at", kept == [bad], ", ".join(kept) or "nothing"),
        Check("nothing else is left at the endpoint", there == sorted([found["live"]["name"], bad]), ", ".join(there)),
        Check("nobody holds the endpoint", found["holder"] is None and not found["frozen"], str(found["holder"])),
    ]  # fmt: skip


def _chains(world: World, told: Reports, outcomes: Reports) -> list[Check]:
    service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
    checks = [
        check
        for version, report in told.items()
        for check in _books(world, service, report["id"], outcomes[version])
    ]
    return [
        Check(
            what,
            all(c.ok for c in checks if c.what == what),
            "; ".join(c.found for c in checks if c.what == what),
        )
        for what in dict.fromkeys(check.what for check in checks)
    ]


def summary(world: World, workload: Deployment, told: Reports, counted: dict[str, Any]) -> str:
    """What each version's steps showed, how fast the bad one was taken back, and what the client saw."""
    lines = [""]
    for version, report in told.items():
        outcome = report.get("outcome") or {}
        lines += [
            f"{report['id']}: version {version} {outcome.get('state')}",
            f"  {outcome.get('reason', '')}",
        ]
        lines += [line for step in _steps(world, report["id"]) for line in _step(step)]
    seen, restored = reaction(world, workload.target.endpoint, told[versions.CARELESS]["id"])
    lines += [
        "",
        f"  the bad version was found out {seen:.0f} s after its first request and served none {restored:.0f} s later, "
        "by the local clock",
        "  what the client got, by who answered:",
    ]
    for name, answers in counted["deployments"].items():
        lines.append(f"    {name:<12} " + ", ".join(f"{key} {value}" for key, value in answers.items()))
    return "\n".join(lines)


def _steps(world: World, run: str) -> list[dict[str, Any]]:
    state = _state(world)
    return [
        json.loads(state.download_blob(b.name).readall())
        for b in state.list_blobs(f"deployments/{run}/steps/")
    ]


def _step(step: dict[str, Any]) -> list[str]:
    began, ended = (step[moment][11:19] if step[moment] else "" for moment in ("began", "ended"))
    lines = [f"  {began}-{ended}  {step['weight']:3} %  {step['outcome']}, {step['looks']} looks"]
    for row in (step["verdict"] or {}).get("rows", ()):
        limit = f" (limit {row['limit']})" if row["limit"] else ""
        lines.append(f"      {row['ruling']:<12} {row['rule']}: {row['value']}{limit} {row['why']}".rstrip())
    return lines


def verdict(checks: list[Check], *, wall_s: float, state: Path) -> str:
    lines = ["", *(f"  {'ok' if check.ok else 'FAULT':<12} {check.what}: {check.found}" for check in checks)]
    told = "verified by reading it back" if all(c.ok for c in checks) else "NOT as claimed"
    return "\n".join(
        [*lines, f"  {told}, {wall_s:.0f} s; everything is kept in {state} (app.log, hub.sqlite, azure/)"]
    )


def events(world: World, endpoint: str, type_: str = "traffic") -> list[dict[str, Any]]:
    """Every change of the endpoint's traffic that Azure took, in order; as `traffic_applied`, from when it served so."""
    return [event for event in world.control.events(type_=type_) if event["endpoint"] == endpoint]


def reaction(world: World, endpoint: str, run: str) -> tuple[float, float]:
    """Virtual seconds: from the run's first share of the traffic to the verdict against it, and until it served none."""
    bad, ended = deployment_name(run), _steps(world, run)[-1]["ended"]
    applied = [
        (datetime.fromisoformat(e["time"]), e["traffic"].get(bad))
        for e in events(world, endpoint, "traffic_applied")
    ]
    given = next(at for at, weight in applied if weight)
    taken = next(at for at, weight in applied if at > given and not weight)
    verdict = datetime.fromisoformat(ended)
    return (verdict - given).total_seconds(), (taken - verdict).total_seconds()


def green(outcome: dict[str, Any]) -> str:
    """The name of what a run deployed."""
    return deployment_name(outcome.get("run", ""))


def ml_client(world: World) -> Any:
    """Plain azure-ai-ml, as anybody with a role in the workspace has it."""
    import logging

    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it warns of classes that nobody here uses
    from azure.ai.ml import MLClient
    from azure.identity import ManagedIdentityCredential

    _, _, subscription, _, group, *_, workspace = world.environment["MUSTER_ML_WORKSPACE"].split("/")
    credential = ManagedIdentityCredential(client_id=world.environment.get("AZURE_CLIENT_ID"))
    return MLClient(credential, subscription, group, workspace, enable_telemetry=False)


def _state(world: World) -> Any:
    return blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"]).get_container_client("muster")


def _json(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_state(world).download_blob(name).readall())
    return found
