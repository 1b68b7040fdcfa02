"""Monitors of drift for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from shared.domain import names
from shared.domain.drift import DriftMonitor, DriftRequest
from shared.domain.workload import parse_workload


def drift_monitor(name: str, **changes: Any) -> dict[str, Any]:
    """A small valid declaration; `changes` are merged into it, section by section."""
    base: dict[str, Any] = {
        "kind": "DriftMonitor",
        "name": name,
        "reference": {"container": "landing", "prefix": f"{name}/", "oldest": 2},
        "target": {"container": "landing", "prefix": f"{name}/", "newest": 2},
        "metric": "psi",
        "threshold": 0.25,
        "compute": {"platform": "local"},
    }
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, Mapping) else values
    return base


def parsed(declared: dict[str, Any]) -> DriftMonitor:
    text = yaml.safe_dump(declared)
    monitor = parse_workload(text, source="test.yaml", platforms=("local", "dsvm"), state_container="muster")
    assert isinstance(monitor, DriftMonitor)
    return monitor


def request(monitor: DriftMonitor, slot: str = "20260301T020000Z") -> DriftRequest:
    run = names.drift_run_id(monitor.name, slot)
    return DriftRequest(run=run, slot=slot, workload=monitor, started_by="test")
