"""The declarations that were deployed with the app: every YAML file in the workloads folder, checked."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from shared.config import settings, state_container
from shared.domain.errors import NotFoundError, SpecErrors
from shared.domain.price_book import sizes
from shared.domain.workload import Deployment, Retraining, Workload, parse_workload
from shared.platforms import with_machines, with_server


def read_workload(path: Path) -> Workload:
    """One declaration. Raises SpecErrors with every fault in it."""
    from shared.domain.document import MAX_BYTES  # with PyYAML: loaded where a declaration is read

    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1).decode("utf-8", errors="replace")
    return parse_workload(
        text,
        source=path.name,
        platforms=tuple(with_machines()),
        sizes=tuple(sizes()),
        servers=tuple(with_server()),
        state_container=state_container(os.environ),
    )


@cache
def load_workloads() -> tuple[dict[str, Workload], tuple[SpecErrors, ...]]:
    """Every declaration by name, and the faults of those that could not be read: one bad file stops no other.

    Read once: a deployed app's files do not change under it.
    """
    found: dict[str, Workload] = {}
    faults: list[SpecErrors] = []
    for path in sorted(settings().workloads.glob("*.yaml")):
        try:
            workload = read_workload(path)
        except SpecErrors as error:
            faults.append(error)
            continue
        if workload.name in found:
            faults.append(
                SpecErrors(f"{path.name}: name {workload.name} is declared twice", source=path.name)
            )
            continue
        found[workload.name] = workload
    return found, tuple(faults)


def find_workload(name: str) -> Workload:
    """The workload called `name`. Raises NotFoundError naming those there are."""
    found, _ = load_workloads()
    if name not in found:
        raise NotFoundError(
            f"no workload {name!r} is deployed; there are: {', '.join(found) or 'none'}", code="NoWorkload"
        )
    return found[name]


def retrainings() -> dict[str, Retraining]:
    """The workloads that retrain, by name."""
    found, _ = load_workloads()
    return {name: workload for name, workload in found.items() if isinstance(workload, Retraining)}


def deployments() -> dict[str, Deployment]:
    """The workloads that say how models are deployed, by name."""
    found, _ = load_workloads()
    return {name: workload for name, workload in found.items() if isinstance(workload, Deployment)}


def deciding() -> dict[str, Workload]:
    """The workloads that decide about events, by name."""
    by_events = {name: each for name, each in deployments().items() if each.on_model_registered}
    return {**retrainings(), **by_events}


def find_deciding(name: str) -> Workload:
    """The workload called `name` that decides about events. Raises NotFoundError naming those there are."""
    workload = find_workload(name)
    if name not in deciding():
        there = ", ".join(deciding()) or "none"
        raise NotFoundError(
            f"{name} is a {workload.kind}: it decides about no events; workloads that do: {there}",
            code="NoWorkload",
        )
    return workload
