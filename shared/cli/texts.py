"""What the command line prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from shared.cli import deploy_texts
from shared.domain.errors import Fault
from shared.domain.schedule import preview
from shared.domain.workload import Workload


def started(answer: dict[str, Any]) -> str:
    how = "started" if answer["fresh"] else "was started before"
    return f"{answer['id']} {how}; see how it does: muster explain {answer['id']}"


def cancelled(answer: dict[str, Any]) -> str:
    run = answer["id"]
    return f"{run}: cancellation is on record; its machines are being released: muster explain {run}"


def deployments(answer: dict[str, Any]) -> str:
    head = ("DEPLOYMENT", "STATE", "ENDPOINT", "MODEL", "WAITING FOR")
    rows = deploy_texts.rows(answer)
    return _table(head, rows) if rows else "no deployments yet"


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
        rows = f", {run['rows']} rows{quarantined}" if run["items"] == "inputs" else ""
        lines.append(f"  progress     {run['items_done']} of {run['items_total']} {run['items']}{rows}")
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
        lines.append(f"  cancel would {held}{_lost_by_cancelling(run)}: muster cancel {run['id']}")
    return "\n".join(lines)


def _lost_by_cancelling(run: dict[str, Any]) -> str:
    if run["items"] == "trials":
        return "register nothing and leave the champion in place"
    if run["items"] == "steps":
        return "give the traffic back to what served before and delete what is being deployed"
    if run["items"] == "measurements":
        return "report no drift"
    return "publish nothing and delete the parts written so far"


def _retrained(outcome: dict[str, Any]) -> list[str]:
    """What was tried, how it was judged and what came of it."""
    tried = f"{outcome['trials_valid']} valid, {outcome['trials_failed']} failed"
    lines = [
        f"  trials       {tried}" + (f"; challenger {outcome['challenger']}" if outcome["challenger"] else "")
    ]
    for trial in outcome["trials"]:
        metric = f"{trial['metric']:.4f}" if trial["metric"] is not None else f"failed: {trial['reason']}"
        lines.append(f"    {trial['trial']}  {metric}  {trial['seconds']:.0f} s  ${trial['usd']:.4f}")
    if outcome.get("data"):
        lines.append(f"  data         {outcome['data']}")
    if outcome["verdict"]:
        lines.append(f"  verdict      {outcome['verdict']}, champion was {outcome['champion'] or 'none'}")
    lines += [f"    {_gate_row(row)}" for row in outcome["table"]]
    if units := outcome.get("units"):
        fates = ", ".join(f"{n} {fate}" for fate, n in units.items() if fate not in ("held", "table") and n)
        lines.append(
            f"  units        {fates}; each in {units['table']['container']}/{units['table']['blob']}"
        )
    for name in ("registered", "deployment"):
        if outcome[name]:
            lines.append(f"  {name:12} {outcome[name]}")
    return lines


def _measured(outcome: dict[str, Any]) -> list[str]:
    """How far which features have moved, and the event that tells it."""
    measured = outcome["measurement"]
    if not measured:
        return []
    without = f", {measured['without']} without {outcome['metric']}" if measured["without"] else ""
    lines = [
        f"  drift        {'breach' if outcome['breached'] else 'no breach'}: {outcome['metric']} "
        f"{measured['coefficient']:.4f} of {measured['feature']}, threshold {outcome['threshold']:g}; "
        f"{measured['measured']} features{without}"
    ]
    for each in measured["features"]:
        shown = [f"{name} {each[name]:.4f}" for name in ("psi", "ks", "js") if each[name] is not None]
        lines.append(f"    {each['name']}  {'  '.join(shown) or each['error']}")
    key = outcome["event"]
    return [*lines, f"  event        {key}; what was decided: muster explain {key}"] if key else lines


def _gate_row(row: dict[str, Any]) -> str:
    shown = [f"{row[who]:.4f}" if row[who] is not None else "-" for who in ("champion", "challenger")]
    change = row["difference"]
    interval = f"{change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}]" if change else ""
    parts = (row["what"], " -> ".join(shown), interval, row["rule"], row["ruling"], row["reason"])
    return "  ".join(part for part in parts if part)


def decisions(answer: dict[str, Any]) -> str:
    """Each decision with its reasons, in the order in which they were asked; the last one decided."""
    found = answer["decisions"]
    if not found:
        return f"nothing was decided for {answer['about']} yet"
    return "\n".join(line for each in found for line in _decision(each))


def _decision(each: dict[str, Any]) -> list[str]:
    event = each.get("event") or {}
    about = f"{event.get('monitor', '')} {event.get('subject', '')}".strip()
    lines = [f"{each['at']}  {each['action']:6}  {each['workload']}  {about}  (event {each['key']})"]
    lines += [
        f"  {'because' if reason == each['reasons'][-1] else 'asked  '}      {reason}"
        for reason in each["reasons"]
    ]
    if each.get("look_at"):
        lines.append(f"  next look    {each['look_at']}, patience ends {each['until']}")
    if each.get("run"):
        lines.append(f"  run          {each['run']}")
    return lines


def _outcome(outcome: dict[str, Any] | None) -> list[str]:
    if not outcome:
        return []
    if "weights" in outcome:
        return [*deploy_texts.outcome(outcome), f"  teardown     {outcome['teardown']}"]
    lines = [
        f"  ended        {outcome['state']} {outcome['reason']}".rstrip(),
        f"  teardown     {outcome['teardown']}",
    ]
    if "trials" in outcome:
        lines += _retrained(outcome)
    elif "measurement" in outcome:
        lines += _measured(outcome)
    elif receipt := outcome["receipt"]:
        where = f"{receipt['manifest']['container']}/{receipt['manifest']['blob']}"
        lines.append(
            f"  receipt      {where}: {receipt['listed']} listed = {receipt['scored']} scored + "
            f"{receipt['quarantined']} quarantined, {receipt['rows']} rows"
            + (f", {n} of them of units without a model" if (n := receipt.get("unpredicted")) else "")
        )
    lines += [f"  offer        {reason}" for reason in outcome["offers"]]
    return lines


@dataclass(frozen=True)
class Check:
    """What became of one declaration: a workload, or its faults and their text."""

    path: Path
    workload: Workload | None = None
    faults: Sequence[Fault] = ()
    text: str = ""

    def next_slots(self) -> list[str]:
        schedule = self.workload.schedule if self.workload else None
        return [slot.at.isoformat() for slot in preview(schedule, datetime.now(UTC), 3)] if schedule else []

    def to_text(self) -> str:
        if self.workload is None:
            return self.text
        schedule = self.workload.schedule
        zone = ZoneInfo(schedule.time_zone) if schedule else UTC
        lines = [f"{self.path}: {self.workload.kind} {self.workload.name} is valid"]
        for slot in self.next_slots():
            there = datetime.fromisoformat(slot).astimezone(zone)
            lines.append(f"  next slot {slot}, {there:%A %H:%M} in {zone}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "valid": self.workload is not None,
            "name": self.workload.name if self.workload else None,
            "nextSlots": self.next_slots(),
            "faults": [fault.model_dump(mode="json", exclude_none=True) for fault in self.faults],
        }


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(str(row[n])) for row in (head, *rows)) for n in range(len(head))]
    return "\n".join(
        "  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
