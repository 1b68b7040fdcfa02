"""What must hold after a run, whatever was crashed in it. Run-scoped and in memory; tests/support/checker.py has the
same invariants for a world of processes. The names I1, I2, ... are those of the fault catalogue's list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain import names
from shared.domain.audit import verify_chain
from tests.crash.histories import History, histories_of, replay_fault
from tests.crash.machine import Machine
from tests.crash.rest import left_in_azure
from tests.crash.scenario import LATE, OUTPUT, outcome_of, state_of
from tests.support.checker import TAGS

MAX_EVENTS, MAX_PAYLOAD = 2000, 16 * 1024


@dataclass(frozen=True)
class Baseline:
    """What a scenario's run comes to when nothing crashes."""

    state: str
    published: Mapping[str, bytes]
    machines: int
    jobs: int

    @classmethod
    def of(cls, machine: Machine) -> Baseline:
        return cls(state_of(machine), published(machine), len(_births(machine)), _jobs(machine))


def published(machine: Machine) -> dict[str, bytes]:
    return machine.scenario.published(machine.cloud.storage)


def violations(machine: Machine, baseline: Baseline | None = None, *, strict: bool = False) -> list[str]:
    """Everything that must not be. `strict`: only the app's process was crashed, so nothing may differ at all."""
    return [
        *_never_too_long(machine),
        *_nothing_left(machine),
        *machine.scenario.unkept(machine, strict=strict),
        *(_as_without_faults(machine, baseline, strict=strict) if baseline else ()),
        *_one_machine_at_a_time(machine),
        *_closed_stays_closed(machine),
        *_tagged_from_birth(machine),
        *_audit_verifies(machine),
        *_paid_for(machine),
        *_histories_hold(machine),
        *_simulator_is_well(machine, polite=strict and not machine.crashes),
    ]


def _never_too_long(machine: Machine) -> Iterator[str]:
    """I1: nothing bills five minutes beyond its lease's deadline, or beyond Azure's last refusal to take it away."""
    now = machine.clock.time()
    refused: dict[str, float] = {}
    for event in machine.cloud.world.events.since(type_="request"):
        if event["method"] in ("DELETE", "POST") and event["status"] >= 400:
            refused[_name(event["resource_id"])] = event["at"]
    for line in machine.cloud.world.meter.lines(now):
        deadline = datetime.fromisoformat(line.tags["muster-deadline"])
        vm = f"vm-{line.tags['muster-lease']}-e{line.tags['muster-epoch']}"
        latest = max(deadline.timestamp(), refused.get(vm, 0.0), line.started) + LATE.total_seconds()
        if (line.ended or now) > latest:
            yield f"I1 {_name(line.resource_id)} billed beyond its deadline {deadline}"


def _nothing_left(machine: Machine) -> Iterator[str]:
    """I2: at rest nothing bills and nothing is orphaned. I17: every instance is over. I20: no lease is open."""
    yield from (f"I2 {each} is left" for each in left_in_azure(machine.cloud))
    for line in machine.cloud.world.meter.lines(machine.clock.time()):
        if line.ended is None:
            yield f"I2 {_name(line.resource_id)} still bills"
    running, _ = machine.hub.query(statuses=(0, 6, 7))
    yield from (f"I17 {instance.id} is {instance.status.name}" for instance in running)
    yield from (f"I20 {each} is open" for each in machine.cloud.storage.names("muster", "leases/open/"))
    yield from (f"I10 {each} is left" for each in machine.cloud.storage.names("muster", "claims/unstarted/"))


def _as_without_faults(machine: Machine, baseline: Baseline, *, strict: bool) -> Iterator[str]:
    """I6: what is published is what the fault-free run published. Strict: so are machines and jobs."""
    found = published(machine)
    if strict:
        counts = (len(_births(machine)), _jobs(machine))
        if counts != (baseline.machines, baseline.jobs):
            yield f"I10 {counts} machines and jobs, without crashes {(baseline.machines, baseline.jobs)}"
        if found != baseline.published:
            yield f"I6 other bytes: {_differences(found, baseline.published)}"
    elif f"{OUTPUT}_SUCCESS" in found and _comparable(found) != _comparable(baseline.published):
        yield f"I6 other bytes: {_differences(found, baseline.published)}"


def _comparable(found: Mapping[str, bytes]) -> dict[str, Any]:
    """How often an input was tried, and whether a machine's death had it set aside, is no part of the result."""
    manifest = json.loads(found.get(f"{OUTPUT}_MANIFEST.json", '{"items": []}'))
    items = [{key: value for key, value in item.items() if key != "attempts"} for item in manifest["items"]]
    return {name: data for name, data in found.items() if "/part-" in name} | {"items": items}


def _differences(found: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> list[str]:
    return sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))


def _one_machine_at_a_time(machine: Machine) -> Iterator[str]:
    """A batch's next machine comes only after the one before it stopped billing."""
    last: dict[str, float] = {}
    lines = sorted(machine.cloud.world.meter.lines(machine.clock.time()), key=lambda line: line.started)
    for line in lines:
        if "virtualMachines" not in line.resource_id or not line.meter.startswith("VM "):
            continue
        lease = line.tags["muster-lease"]
        if line.started < last.get(lease, 0.0):
            yield f"two machines of lease {lease} bill at once"
        last[lease] = line.ended or machine.clock.time()


def _closed_stays_closed(machine: Machine) -> Iterator[str]:
    """I11: what was created under an epoch after its lease was closed is gone, or stopped, five minutes later."""
    closed = _closings(machine)
    for name, event in _births(machine).items():
        if name not in closed:
            yield f"I20 the lease of {name} was never closed"
            continue
        for line in machine.cloud.world.meter.lines(machine.clock.time()):
            late_s = (line.ended or machine.clock.time()) - line.started
            born_late = max(event["at"], line.started) > closed[name]
            if _machine(line.resource_id) == name and born_late and late_s > LATE.total_seconds():
                yield f"I11 {name} was created after its lease was closed, and billed for {late_s:.0f} s"


def _tagged_from_birth(machine: Machine) -> Iterator[str]:
    """I12: a machine bears all tags from the first moment it exists."""
    for name, event in _births(machine).items():
        if missing := TAGS - set(event["tags"]):
            yield f"I12 {name} was made without {sorted(missing)}"


def _audit_verifies(machine: Machine) -> Iterator[str]:
    """I16: every chain verifies, and the run's ends where its outcome says."""
    storage = machine.cloud.storage
    chains: dict[str, list[bytes]] = {}
    for name in storage.names("muster", "audit/"):
        chains.setdefault(name.split("/")[1], []).append(storage.read("muster", name) or b"")
    for chain, records in chains.items():
        yield from (f"I16 {chain}: {fault}" for fault in verify_chain(records))
    outcome = outcome_of(machine)
    if outcome and outcome["audit_head"] != hashlib.sha256(chains[machine.scenario.run][-1]).hexdigest():
        yield "I16 the run's last record is not the head that its outcome names"


def _paid_for(machine: Machine) -> Iterator[str]:
    """I3: the run's own account covers what the meter shows of its machines."""
    outcome = outcome_of(machine)
    if not outcome or outcome["teardown"] != "Clean":
        return
    lines = machine.cloud.world.meter.lines(machine.clock.time())
    closed = _closings(machine)
    metered = sum(  # what a late call made after the lease was closed is nobody's, and the reaper's
        float(line.usd)
        for line in lines
        if line.meter.startswith(("VM ", "AmlCompute "))
        and line.started < closed.get(_machine(line.resource_id), line.started + 1)
    )
    if metered > outcome["usd"] + 0.001:
        yield f"I3 the machines cost ${metered:.4f}, the run's account says ${outcome['usd']:.4f}"


def _histories_hold(machine: Machine) -> Iterator[str]:
    """I18: histories and payloads stay small. I19: replaying what happened asks for the same again."""
    for history in histories_of(machine.hub):
        if len(history.events) > MAX_EVENTS:
            yield f"I18 {history.instance} has {len(history.events)} events"
        if history.largest_payload > MAX_PAYLOAD + 64:  # the answer's envelope
            yield f"I18 {history.instance} has a payload of {history.largest_payload} bytes"
        if fault := replay_fault(history):
            yield f"I19 {history.instance}: {fault}"


def _simulator_is_well(machine: Machine, *, polite: bool) -> Iterator[str]:
    """R21: the simulator itself did not fail. I14: nobody who remembers what he was told came too early."""
    for event in machine.cloud.world.events.since():
        if event["type"] == "defect" or (event["type"] == "early_poll" and polite):
            yield f"{event['type']}: {json.dumps(event)[:300]}"


def _births(machine: Machine) -> dict[str, dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for event in machine.cloud.world.events.since(type_="vm"):
        if event["power"] == "creating":
            first.setdefault(_name(event["resource_id"]), event)
    for line in machine.cloud.world.meter.lines(machine.clock.time()):
        if "/computes/" in line.resource_id:  # a cluster is born with its first node
            first.setdefault(_machine(line.resource_id), {"at": line.started, "tags": line.tags})
    return first


def _closings(machine: Machine) -> dict[str, float]:
    """When the lease of each machine, by the machine's name, was closed."""
    storage, closed = machine.cloud.storage, {}
    for name in storage.names("muster", "leases/closed/"):
        record = storage.document("muster", name)
        lease, at = record["lease"], datetime.fromisoformat(record["at"])
        for name_of in (names.vm_name, names.cluster_name):
            closed[name_of(lease["id"], lease["epoch"])] = at.timestamp()
    return closed


def _jobs(machine: Machine) -> int:
    events = machine.cloud.world.events
    submitted = [event for event in events.since(type_="job") if event["status"] == "NotStarted"]
    return len(events.since(type_="script_started")) + len(submitted)


def _machine(resource_id: str) -> str:
    """The machine that a line of the bill is about: a node's is its cluster."""
    _, _, of_cluster = resource_id.partition("/computes/")
    return of_cluster.split("/")[0] or _name(resource_id)


def _name(resource_id: str) -> str:
    return resource_id.rsplit("/", 1)[-1]


__all__ = ["Baseline", "History", "published", "violations"]
