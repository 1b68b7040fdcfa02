"""Did it really happen? Everything a run claims is read back from the places a stranger would look at."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localdev.demo.world import World, blob_service
from shared.domain.audit import digest, verify_chain
from shared.domain.workload import BatchScoring


@dataclass(frozen=True)
class Check:
    """One thing read back: what was looked at, whether it is as claimed, and what was found."""

    what: str
    ok: bool
    found: str


def verify(world: World, workload: BatchScoring, report: dict[str, Any]) -> list[Check]:
    """Read back the scores, the receipt, the machines, the bill, the leases and the audit chain."""
    service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
    outcome = report["outcome"]
    if not outcome or not outcome["receipt"]:
        return [
            Check(
                "outcome", False, f"{report['state']}: {report['error'] or (outcome or {}).get('reason', '')}"
            )
        ]
    return [
        *_scores(service, workload, outcome),
        *_machines(world, outcome),
        *books(world, service, report["id"], outcome),
    ]


def _scores(service: Any, workload: BatchScoring, outcome: dict[str, Any]) -> list[Check]:
    import pyarrow.parquet as pq

    scores, receipt = service.get_container_client(workload.output.container), outcome["receipt"]
    folder = receipt["success"]["blob"].removesuffix("_SUCCESS")
    raw = _read(scores, f"{folder}_MANIFEST.json")
    manifest, success = json.loads(raw), json.loads(_read(scores, f"{folder}_SUCCESS"))
    rows = 0
    for part in manifest["parts"]:
        data = _read(scores, part["blob"])
        if hashlib.sha256(data).hexdigest() == part["sha256"]:
            rows += pq.read_metadata(io.BytesIO(data)).num_rows
    landed = {
        b.name
        for b in service.get_container_client(workload.input.container).list_blobs(workload.input.prefix)
    }
    items = {i["blob"] for i in manifest["items"]}
    return [
        Check("every landed file is in the receipt, once", items == landed and len(manifest["items"]) == len(landed),
              f"{len(items)} of {len(landed)}"),
        Check("listed = scored + quarantined", manifest["listed"] == manifest["scored"] + manifest["quarantined"],
              f"{manifest['listed']} = {manifest['scored']} + {manifest['quarantined']}"),
        Check("rows in the parts = rows in the receipt", rows == manifest["rows"] == receipt["rows"], f"{rows:,}"),
        Check("_SUCCESS names this receipt", success["manifest"] == hashlib.sha256(raw).hexdigest(), folder + "_SUCCESS"),
    ]  # fmt: skip


def _machines(world: World, outcome: dict[str, Any]) -> list[Check]:
    left = [r["id"] for r in world.control.resources() if _is_ours(r)]
    lines = world.control.bill()["lines"]
    running = [line for line in lines if line["ended"] is None]
    billed = sum(float(line["usd"]) for line in lines)
    return [
        Check("orphans left", not left, str(len(left))),
        Check("meters still running", not running, str(len(running))),
        Check("our account of the money covers Azure's bill", 0 < billed <= outcome["usd"] + 1e-6,
              f"${outcome['usd']:.4f} here, ${billed:.4f} on the simulator's meter"),
    ]  # fmt: skip


def books(world: World, service: Any, run: str, outcome: dict[str, Any]) -> list[Check]:
    _, leases = world.api("leases")
    state = service.get_container_client("muster")
    records = [_read(state, b.name) for b in state.list_blobs(f"audit/{run}/")]
    faults = verify_chain(records)
    head = digest(records[-1]) if records else ""
    return [
        Check("leases open", not leases["leases"], str(len(leases["leases"]))),
        Check("teardown", outcome["teardown"] == "Clean", outcome["teardown"]),
        Check("audit chain verifies to the head in the outcome", not faults and head == outcome["audit_head"],
              "; ".join(faults) or f"{len(records)} records"),
    ]  # fmt: skip


def _is_ours(resource: dict[str, Any]) -> bool:
    return "muster-lease" in (resource.get("tags") or {}) or "vm-" in resource["id"].rsplit("/", 1)[-1]


def _read(container: Any, name: str) -> bytes:
    data: bytes = container.download_blob(name).readall()
    return data


def summary(report: dict[str, Any], checks: list[Check], *, wall_s: float, state: Path) -> str:
    """What the user wants to know at the end, and where to look further."""
    outcome = report["outcome"] or {}
    receipt = outcome.get("receipt")
    lines = ["", f"{report['id']}: {report['state']}"]
    if receipt:
        lines += [
            f"  files        {receipt['listed']} listed = {receipt['scored']} scored + "
            f"{receipt['quarantined']} quarantined",
            f"  rows         {receipt['rows']:,} in {receipt['parts']} parts",
            f"  receipt      {receipt['manifest']['container']}/{receipt['manifest']['blob']}",
        ]
    for charge in outcome.get("charges", []):
        offer, minutes = charge["offer"], _minutes(charge)
        lines.append(
            f"  machine      {offer['size']} in {offer['region']}: billed {minutes:.1f} minutes at "
            f"${offer['price_usd_per_hour']:.4f}/h, with its disk ${charge['usd']:.4f}"
        )
    lines += [f"  {'ok' if check.ok else 'FAULT':<12} {check.what}: {check.found}" for check in checks]
    verdict = "verified by reading it back" if all(c.ok for c in checks) else "NOT as claimed"
    lines.append(f"  {verdict}, {wall_s:.0f} s; everything is kept in {state} (app.log, hub.sqlite, azure/)")
    return "\n".join(lines)


def _minutes(charge: dict[str, Any]) -> float:
    from datetime import datetime

    since, until = (datetime.fromisoformat(charge[k]) for k in ("since", "until"))
    return (until - since).total_seconds() / 60
