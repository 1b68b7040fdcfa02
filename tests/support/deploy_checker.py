"""The invariants of endpoints: who may write traffic, what may have it, and what is left when all is over.

I7, I8 and I9 are those of the fault catalogue's list. Traffic is what Azure accepted, not what we believe we sent.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from shared.domain.names import deployment_name
from tests.support.estate import Estate

TAGS = {"muster-app", "muster-lease", "muster-owner", "muster-deadline", "muster-epoch", "muster-managed-by"}
DEPLOYMENT = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
PASSED = ("passed", "approved")


def deploy_violations(estate: Estate) -> list[str]:
    """Everything wrong with any endpoint of this world, now that nothing is under way."""
    maps: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in estate.world.control.events(type_="traffic"):
        maps[event["endpoint"]].append(event)
    outcomes = _outcomes(estate)
    return [
        *(
            fault
            for endpoint, events in maps.items()
            for fault in _maps_are_whole(endpoint, events, outcomes)
        ),
        *(fault for events in maps.values() for fault in _only_the_tested_serve(estate, events, outcomes)),
        *(fault for endpoint, events in maps.items() for fault in _one_writer_at_a_time(endpoint, events)),
        *_rollouts_do_not_overlap(outcomes),
        *_at_rest(estate),
    ]


def accepted(estate: Estate, endpoint: str) -> list[dict[str, Any]]:
    return [event for event in estate.world.control.events(type_="traffic") if event["endpoint"] == endpoint]


def _outcomes(estate: Estate) -> dict[str, dict[str, Any]]:
    """Of the deployment runs that are over, by the name of what each deployed."""
    found = {}
    for blob in estate.state.list_blobs("runs/deploy-"):
        if blob.name.endswith("/outcome.json"):
            outcome = estate.read_json(estate.state, blob.name)
            found[deployment_name(outcome["run"])] = outcome
    return found


def _maps_are_whole(
    endpoint: str, events: list[dict[str, Any]], outcomes: dict[str, dict[str, Any]]
) -> list[str]:
    """I7: a map sums to 100, or to 0 before anything was ever live; and what it names has succeeded."""
    faults = []
    done = [o["ended"] for o in outcomes.values() if o["endpoint"] == endpoint and o["state"] == "Completed"]
    first = min(map(datetime.fromisoformat, done), default=None)
    for event in events:
        live = first is not None and datetime.fromisoformat(event["time"]) >= first
        weights, states = event["traffic"], event["deployments"]
        total = sum(weights.values())
        if total != 100 and (total or live):
            faults.append(f"I7 {endpoint}: {weights} was accepted" + (" though it was live" if live else ""))
        for name, weight in weights.items():
            if weight and states.get(name) != "Succeeded":
                faults.append(f"I7 {endpoint}: {name} has {weight} % and is {states.get(name)}")
    return faults


def _only_the_tested_serve(
    estate: Estate, events: list[dict[str, Any]], outcomes: dict[str, dict[str, Any]]
) -> list[str]:
    """I8: traffic only after the tests and the approval, 100 % only after every step before it."""
    faults: list[str] = []
    shares: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        for name, weight in event["traffic"].items():
            if weight and (not shares[name] or shares[name][-1] != weight):
                if name in outcomes and not shares[name]:
                    faults += _allowed(estate, outcomes[name], event)
                shares[name].append(weight)
    for name, given in shares.items():
        if name in outcomes and 100 in given:
            faults += _passed_every_step(estate, outcomes[name], given[: given.index(100)])
    return faults


def _allowed(estate: Estate, outcome: dict[str, Any], event: dict[str, Any]) -> list[str]:
    """What must be on record before a version's first share of the traffic."""
    run = outcome["run"]
    faults = [
        f"I8 {run}: has traffic though {test['kind']} failed" for test in outcome["tests"] if not test["ok"]
    ]
    if not {"contract", "load"} <= {test["kind"] for test in outcome["tests"]}:
        faults.append(f"I8 {run}: has traffic, tested by {[test['kind'] for test in outcome['tests']]} alone")
    asked = estate.read_json(estate.state, f"deployments/{run}/approval-request.json")
    if asked is None:
        return faults
    said = estate.read_json(estate.state, f"deployments/{run}/approval.json")
    if said is None or said["decision"] != "approve" or said["digest"] != asked["digest"]:
        return [*faults, f"I8 {run}: has traffic, and the approval is {said}"]
    if asked["four_eyes"] and said["by"] == asked["requested_by"]:
        faults.append(f"I8 {run}: approved by the one who asked")
    if datetime.fromisoformat(said["at"]) > datetime.fromisoformat(event["time"]):
        faults.append(f"I8 {run}: has traffic since {event['time']}, approved at {said['at']}")
    return faults


def _passed_every_step(estate: Estate, outcome: dict[str, Any], before: list[int]) -> list[str]:
    """`before`: the shares that the version had before it had all."""
    run, prefix = outcome["run"], f"deployments/{outcome['run']}/steps/"
    names = sorted(blob.name for blob in estate.state.list_blobs(prefix))
    steps = [estate.read_json(estate.state, name) for name in names]
    passed = [step["weight"] for step in steps if step["outcome"] in PASSED]
    if before != sorted(set(before)) or passed[: len(before)] != before:
        return [f"I8 {run}: got 100 % after {before}, having passed {passed}"]
    return []


def _one_writer_at_a_time(endpoint: str, events: list[dict[str, Any]]) -> list[str]:
    """I9: no map was accepted under an epoch lower than one before it."""
    epochs = [int(event["tags"].get("muster-epoch", 0)) for event in events]
    return (
        []
        if epochs == sorted(epochs) and 0 not in epochs
        else [f"I9 {endpoint}: epochs {epochs} were accepted"]
    )


def _rollouts_do_not_overlap(outcomes: dict[str, dict[str, Any]]) -> list[str]:
    """I9: of those that had anything deployed, one at a time on each endpoint."""
    spans: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for outcome in outcomes.values():
        if outcome["tests"]:
            spans[outcome["endpoint"]].append((outcome["started"], outcome["ended"], outcome["run"]))
    faults = []
    for endpoint, found in spans.items():
        for (_, ended, run), (started, _, after) in zip(sorted(found), sorted(found)[1:], strict=False):
            if datetime.fromisoformat(started) < datetime.fromisoformat(ended):
                faults.append(f"I9 {endpoint}: {after} began before {run} had ended")
    return faults


def _at_rest(estate: Estate) -> list[str]:
    """Nobody holds an endpoint; what is live has everything; what is there is live, to go back to, or kept for a time."""
    faults: list[str] = []
    there: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for resource in estate.world.control.resources(DEPLOYMENT):
        *_, endpoint, _, name = resource["id"].split("/")
        there[endpoint][name] = resource
        if not set(resource["tags"] or {}) >= TAGS:
            faults.append(f"I12 {endpoint}/{name} lacks {sorted(TAGS - set(resource['tags'] or {}))}")
    now = estate.world.clock.now()
    for blob in estate.state.list_blobs("endpoints/"):
        record = estate.read_json(estate.state, blob.name)
        endpoint = record["endpoint"]
        if record["holder"] and not record["frozen"]:
            faults.append(f"I9 {endpoint} is still held by {record['holder']}")
        if not record["frozen"]:
            faults += _nothing_over(endpoint, record, set(there[endpoint]), now)
        traffic = _traffic(estate, endpoint)
        if traffic is not None and record["live"] and not record["frozen"]:
            wanted = {record["live"]["name"]: 100}
            if traffic != wanted:
                faults.append(f"I7 {endpoint} serves {traffic}, on record is {wanted}")
    return faults


def _nothing_over(endpoint: str, record: dict[str, Any], there: set[str], now: datetime) -> list[str]:
    due = {record["live"]["name"]} if record["live"] else set()
    if record["previous"] and record["hold_until"] and datetime.fromisoformat(record["hold_until"]) > now:
        due.add(record["previous"]["name"])
    due |= {
        kept["deployment"]["name"] for kept in record["kept"] if datetime.fromisoformat(kept["until"]) > now
    }
    return [f"I2 {endpoint}: {sorted(there - due)} left over"] if there - due else []


def _traffic(estate: Estate, endpoint: str) -> dict[str, int] | None:
    """What Azure has now, without zeros; None if there is no such endpoint."""
    for resource in estate.world.control.resources(
        "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
    ):
        if resource["id"].rsplit("/", 1)[-1] == endpoint:
            return {name: weight for name, weight in resource["properties"]["traffic"].items() if weight}
    return None
