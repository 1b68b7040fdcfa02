"""One checker for every scenario: the invariants of a world at rest, read from where a stranger would look.

The names I1, I2, ... are those of the fault catalogue's list.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from shared.domain import names
from shared.domain.audit import verify_chain
from tests.support.deploy_checker import deploy_violations
from tests.support.estate import Estate
from tests.support.retrain_checker import account_violations, retraining_violations

TAGS = {"muster-app", "muster-lease", "muster-owner", "muster-deadline", "muster-epoch", "muster-managed-by"}


def violations(estate: Estate, *, since: int = 0, degraded: bool = False) -> list[str]:
    """Everything that must not be, after the events numbered above `since`. `degraded`: a machine may be left."""
    events = estate.world.control.events(since=since)
    return [
        *([] if degraded else _nothing_left(estate)),
        *_tagged_from_birth(events),
        *_nodes_bear_tags(estate),
        *_good_citizen(events),
        *_published_is_covered(estate),
        *_audit_verifies(estate),
        *_closed_epochs_stay_closed(estate, events),
        *account_violations(estate),
        *retraining_violations(estate),
        *deploy_violations(estate),
    ]


def _nothing_left(estate: Estate) -> list[str]:
    """I2: at rest nothing bills and nothing is orphaned. I20: every lease is closed.

    A deployment that serves bills on; whether one is left that does not, deploy_violations tells.
    """
    faults = [f"I2 {resource['id']} is left" for resource in estate.machines()]
    faults += [
        f"I2 {line['resource_id']} still bills"
        for line in estate.world.control.bill()["lines"]
        if line["ended"] is None and "/onlineEndpoints/" not in line["resource_id"]
    ]
    _, answer = estate.world.api("leases")
    return faults + [f"I20 lease {lease['id']} of {lease['owner']} is open" for lease in answer["leases"]]


def _tagged_from_birth(events: list[dict[str, Any]]) -> list[str]:
    """I12: a machine bears all tags from the first moment it exists."""
    return [
        f"I12 {name} was made without {sorted(TAGS - set(event['tags']))}"
        for name, event in _births(events).items()
        if not set(event["tags"]) >= TAGS
    ]


def _nodes_bear_tags(estate: Estate) -> list[str]:
    """I12: a node of a cluster of ours is billed under its lease's tags."""
    return [
        f"I12 {line['resource_id']} is billed without {sorted(TAGS - set(line['tags']))}"
        for line in estate.world.control.bill()["lines"]
        if "/computes/ml-" in line["resource_id"].lower() and not set(line["tags"]) >= TAGS
    ]


def _births(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The first event of each machine that was made in this time, by the machine's name."""
    first: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "vm" and event["power"] == "creating":
            first.setdefault(event["resource_id"].rsplit("/", 1)[-1], event)
    return first


def _nodes_begun(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last node that each cluster began to get, by the cluster's name."""
    return {
        event["resource_id"].rsplit("/", 1)[-1]: event
        for event in events
        if event["type"] == "node" and event["state"] == "preparing"
    }


def _good_citizen(events: list[dict[str, Any]]) -> list[str]:
    """I14: no request before Retry-After. R21: nothing that the official specifications refuse."""
    return [
        f"{'I14' if e['type'] == 'early_poll' else 'R21'} {e['type']}: {json.dumps(e)[:400]}"
        for e in events
        if e["type"] in ("early_poll", "contract_violation")
    ]


def _published_is_covered(estate: Estate) -> list[str]:
    """I4, I5: where there is a `_SUCCESS`, the folder is exactly what its manifest says."""
    faults = []
    blobs: dict[str, list[str]] = {}
    for blob in estate.scores.list_blobs():
        folder, _, name = blob.name.rpartition("/")
        blobs.setdefault(folder, []).append(name)
    for folder, found in blobs.items():
        if "_SUCCESS" not in found:
            faults.append(f"I4 {folder} holds {len(found)} blobs and no _SUCCESS")
            continue
        raw = estate.read(estate.scores, f"{folder}/_MANIFEST.json") or b"{}"
        manifest, success = json.loads(raw), estate.read_json(estate.scores, f"{folder}/_SUCCESS")
        if success["manifest"] != hashlib.sha256(raw).hexdigest():
            faults.append(f"I5 {folder}/_SUCCESS names another manifest")
        parts = {p["blob"].rpartition("/")[2]: p["sha256"] for p in manifest["parts"]}
        if set(found) - {"_SUCCESS", "_MANIFEST.json"} != set(parts):
            faults.append(f"I4 {folder}: parts {sorted(parts)} declared, {sorted(found)} found")
        for name, digest in parts.items():
            if hashlib.sha256(estate.read(estate.scores, f"{folder}/{name}") or b"").hexdigest() != digest:
                faults.append(f"I4 {folder}/{name} is not what the manifest says")
        items = [i["blob"] for i in manifest["items"]]
        if (
            len(set(items)) != len(items)
            or manifest["listed"] != manifest["scored"] + manifest["quarantined"]
        ):
            faults.append(f"I4 {folder}: an input is counted twice or not at all")
    return faults


def _audit_verifies(estate: Estate) -> list[str]:
    """I16: every chain verifies, and ends where the run's outcome says it ends.

    Outcomes are read first: what a timer started may end while this looks, and its chain is whole before its outcome.
    """
    ended = {
        blob.name.split("/")[1]: estate.read_json(estate.state, blob.name)
        for blob in estate.state.list_blobs("runs/")
        if blob.name.endswith("/outcome.json")
    }
    chains: dict[str, list[bytes]] = {}
    for blob in estate.state.list_blobs("audit/"):
        chains.setdefault(blob.name.split("/")[1], []).append(estate.read(estate.state, blob.name) or b"")
    faults = [f"I16 {chain}: {fault}" for chain, records in chains.items() for fault in verify_chain(records)]
    for chain, records in chains.items():
        outcome = ended.get(chain)
        if outcome and outcome["audit_head"] != hashlib.sha256(records[-1]).hexdigest():
            faults.append(f"I16 {chain}: its last record is not the head that its outcome names")
    return faults


def _closed_epochs_stay_closed(estate: Estate, events: list[dict[str, Any]]) -> list[str]:
    """I11: nothing is created under an epoch after its lease was closed."""
    closed = {}
    for blob in estate.state.list_blobs("leases/closed/"):
        record = estate.read_json(estate.state, blob.name)
        lease = record["lease"]
        for name in (names.vm_name, names.cluster_name):
            closed[name(lease["id"], lease["epoch"])] = datetime.fromisoformat(record["at"])
    return [
        f"I11 {name} was created after its lease was closed"
        for name, event in {**_births(events), **_nodes_begun(events)}.items()
        if name in closed and datetime.fromisoformat(event["time"]) > closed[name]
    ]
