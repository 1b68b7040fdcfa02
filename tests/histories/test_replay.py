"""Code that is deployed while runs wait must go on where they are."""

from __future__ import annotations

import sys
import types
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import function_app  # noqa: F401  # it names the steps
from shared.durable import index
from tests.crash.histories import History, replay_fault
from tests.histories.files import GOLDEN, SUFFIX, read

ROOT = Path(__file__).resolve().parents[2]
EDITED = (
    "score_batch", "score_shards", "reap_leases", "consider_event", "retrain", "train_trials", "measure_drift",
    "measure_features", "deploy_model", "roll_back", "tend_endpoints", "evaluate_units", "evaluate_unit_chunk",
    "convert_model",
)  # fmt: skip
FILES = sorted(GOLDEN.glob(f"*{SUFFIX}"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(SUFFIX))
def test_today_s_code_asks_for_what_the_history_says(path: Path) -> None:
    for history in read(path):
        assert replay_fault(history, every_turn=True) is None, history.instance


def test_every_orchestrator_has_histories_of_several_branches() -> None:
    ways = Counter(
        name
        for name, _ in {
            (history.name, tuple(str(e.WhichOneof("eventType")) for e in history.events))
            for path in FILES
            for history in read(path)
        }
    )
    assert set(ways) >= set(EDITED)
    assert min(ways.values()) >= 3, ways


UNSAFE = [
    # a step more, a step less, another order, another time, another name: each would leave a waiting run stuck
    ("score_batch", "orchestrators/score.py",
     '    yield from trail.write("run started", request.run, why=request.reason)\n', ""),
    ("score_batch", "orchestrators/score.py", "contracts.DISCARD_SCORES", "contracts.PUBLISH_SCORES"),
    ("score_shards", "orchestrators/score.py", "max(FIRST_LOOK_S, ", "max(2 * FIRST_LOOK_S, "),
    ("score_shards", "orchestrators/score.py", "_lease(flow, batch, offer, epoch),",
     "_lease(flow, batch, offer, epoch + 1),"),
    ("reap_leases", "orchestrators/upkeep.py",
     'yield from trail.write("removal begun", removal.resource.id, why=removal.reason)', "pass"),
    ("consider_event", "orchestrators/events.py", "max(delay, 60.0))\n    yield from flow.rest(max(delay, 60.0))",
     "max(delay, 60.0))\n    yield from flow.rest(delay + 60.0)"),
    ("consider_event", "orchestrators/events.py", "    yield from flow.call(contracts.CLOSE_EVENT, event)\n", ""),
    ("convert_model", "orchestrators/conversion.py", '"convert", conversion.compute', '"onnx", conversion.compute'),
    ("convert_model", "orchestrators/conversion.py", "epoch=lease.epoch, attempt=attempt", "epoch=1, attempt=attempt"),
    ("measure_drift", "orchestrators/drift.py", "contracts.REPORT_DRIFT, ", "contracts.RECORD_DRIFT, "),
    ("measure_features", "orchestrators/drift.py", 'measure.request.run, "drift",', 'measure.request.run, "measure",'),
    ("retrain", "orchestrators/retrain.py",
     '    yield from trail.write("judged", best.trial, why=run.verdict.reason, after=run.verdict.ruling)\n', ""),
    ("train_trials", "orchestrators/training.py", "range(trials.start, trials.stop, size)",
     "range(trials.start, trials.stop, 2)"),
    ("retrain", "orchestrators/retrain.py", "run.registered = yield from register_units(flow, registration)", "pass"),
    ("evaluate_units", "orchestrators/units.py", "for start in range(0, evaluate.jobs, PER_HISTORY)",
     "for start in range(0, evaluate.jobs, 1)"),
    ("evaluate_unit_chunk", "orchestrators/units.py", "range(chunk.start, chunk.stop)", "range(chunk.stop)[::-1]"),
    ("deploy_model", "orchestrators/deploy.py", "    yield from _save_last_good(flow, trail, run, record, look)\n", ""),
    ("deploy_model", "orchestrators/deploy.py", "max(APPROVAL_LOOK, policy", "max(2 * APPROVAL_LOOK, policy"),
    ("roll_back", "orchestrators/rollback.py", "keeps_previous=True", "keeps_previous=False"),
    ("tend_endpoints", "orchestrators/tend.py", "yield from flow.call(contracts.SET_TRAFFIC, change, tries=1)", "pass"),
]  # fmt: skip
SAFE = [
    ("retrain", "orchestrators/retrain.py", 'flow.status("registering",', 'flow.status("promoting",'),
    ("score_batch", "orchestrators/score.py", 'flow.status("publishing",', 'flow.note("go")\n    flow.status("publish",'),
    ("score_shards", "orchestrators/score.py", "_run_jobs if batch.shares_machine else _run_job\n",
     "_run_job if not batch.shares_machine else _run_jobs\n"),
    ("reap_leases", "orchestrators/upkeep.py", "failed: list[str] = []", "failed: list[str] = list()"),
    ("deploy_model", "orchestrators/deploy.py", 'flow.status("committing",', 'flow.status("ending",'),
    ("roll_back", "orchestrators/rollback.py", 'flow.status("holding",', 'flow.status("taking",'),
    ("tend_endpoints", "orchestrators/tend.py", "failed = list(found.failed)", "failed = [*found.failed]"),
    ("measure_drift", "orchestrators/drift.py", 'flow.status("measuring",', 'flow.status("comparing",'),
    ("consider_event", "orchestrators/events.py", 'flow.status("decided",', 'flow.status("done",'),
]  # fmt: skip


@pytest.mark.parametrize("name, source, old, new", UNSAFE)
def test_an_unsafe_edit_is_refused(name: str, source: str, old: str, new: str) -> None:
    with edited(name, source, old, new) as function:
        faults = [replay_fault(history, function, every_turn=True) for history in _histories(name)]
    assert any(faults), "no golden history tells this edit from the code as it is"


@pytest.mark.parametrize("name, source, old, new", SAFE)
def test_a_safe_edit_is_accepted(name: str, source: str, old: str, new: str) -> None:
    with edited(name, source, old, new) as function:
        for history in _histories(name):
            assert replay_fault(history, function, every_turn=True) is None


def _histories(name: str) -> list[History]:
    return [history for path in FILES for history in read(path) if history.name == name]


@contextmanager
def edited(name: str, source: str, old: str, new: str) -> Iterator[Any]:
    """The orchestrator as it would be after an edit of its file; the app keeps the one it has."""
    text = (ROOT / source).read_text()
    assert old in text, f"{source} has moved on; this edit must follow it"
    kept = {step: index.runner(step) for step in EDITED}
    module = types.ModuleType(f"edited_{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(text.replace(old, new), source, "exec"), module.__dict__)
        changed = index.runner(name)
    finally:
        del sys.modules[module.__name__]
        for step, run in kept.items():
            index.provide(step, run)

    def function(context: Any) -> Any:
        return (yield from changed(context))

    function.__name__ = name
    yield function
