"""What the command line prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.domain.schedule import preview
from shared.domain.workload import BatchScoring


def runs(answer: dict[str, Any]) -> str:
    rows = [(r["id"], r["state"], r["phase"], r["created"] or "") for r in answer["runs"]]
    return _table(("RUN", "STATE", "PHASE", "CREATED"), rows) if rows else "no runs yet"


def leases(answer: dict[str, Any]) -> str:
    rows = [
        (o["id"], o["owner"], o["machine"], f"{o['usdPerHour']:.4f}", o["since"], o["deadline"])
        for o in answer["leases"]
    ]
    return (
        _table(("LEASE", "OWNER", "MACHINE", "USD/H", "SINCE", "DEADLINE"), rows)
        if rows
        else "no machine is held"
    )


def explain(run: dict[str, Any]) -> str:
    """Everything asked at three in the morning: waiting for what, since when, what it holds, what cancel would do."""
    lines = [f"{run['id']}: {run['state']}, {run['phase']}, {run['percent']:.0f} %"]
    if run["waiting_for"]:
        next_look = f", next look {run['next_look']}" if run["next_look"] else ""
        lines.append(f"  waiting for  {run['waiting_for']}, since {run['since']}{next_look}")
    if run["items_total"]:
        quarantined = f", {run['quarantined']} quarantined" if run["quarantined"] else ""
        lines.append(
            f"  progress     {run['items_done']} of {run['items_total']} inputs, {run['rows']} rows{quarantined}"
        )
    for machine in run["machines"]:
        lines.append(
            f"  machine      {machine['machine'] or 'being made'} (lease {machine['lease']}), {machine['phase']}, "
            f"${machine['usd_per_hour']:.4f}/h, ${machine['spent_usd']:.4f} so far"
        )
    lines.append(f"  spent        ${run['spent_usd']:.4f} as of {run['as_of']}")
    lines += _outcome(run["outcome"])
    if run["error"]:
        lines.append(f"  error        {run['error']}")
    if not run["outcome"] and run["state"] in ("Running", "Pending"):
        held = f"release {len(run['machines'])} machine(s), " if run["machines"] else ""
        lines.append(
            f"  cancel would {held}publish nothing and delete the parts written so far: muster cancel {run['id']}"
        )
    return "\n".join(lines)


def _outcome(outcome: dict[str, Any] | None) -> list[str]:
    if not outcome:
        return []
    lines = [
        f"  ended        {outcome['state']} {outcome['reason']}".rstrip(),
        f"  teardown     {outcome['teardown']}",
    ]
    receipt = outcome["receipt"]
    if receipt:
        where = f"{receipt['manifest']['container']}/{receipt['manifest']['blob']}"
        lines.append(
            f"  receipt      {where}: {receipt['listed']} listed = {receipt['scored']} scored + "
            f"{receipt['quarantined']} quarantined, {receipt['rows']} rows"
        )
    lines += [f"  offer        {reason}" for reason in outcome["offers"]]
    return lines


def valid(path: Path, workload: BatchScoring) -> str:
    lines = [f"{path}: {workload.kind} {workload.name} is valid"]
    if workload.schedule:
        now = datetime.now(UTC)
        lines += [f"  next slot {slot.at.isoformat()}" for slot in preview(workload.schedule, now, 3)]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(str(row[n])) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(
        "  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
