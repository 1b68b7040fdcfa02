"""Record every night's histories: `python -m tests.histories.record [NIGHT ...]`.

The nights of the test machine without crashes, and a few with: what a crash leaves in a history is a branch, too.
Only the reaper's passes that do something are kept; they share one instance id, so the last of a night is.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from tests.crash.campaign import Task
from tests.crash.histories import History, histories_of, replay_fault
from tests.crash.rig import Rig
from tests.crash.scenarios import SCENARIOS
from tests.histories.files import GOLDEN, SUFFIX, write

# Nights whose histories have a branch that no fault-free night has: found by looking, kept by their seeds.
SEEDS = ("plain#7", "two-machines#11", "evicted#13", "delete-refused#19", "cancelled#23", "never-boots#29")


def main(nights: Sequence[str]) -> int:
    logging.disable(logging.CRITICAL)
    GOLDEN.mkdir(exist_ok=True)
    with Rig() as rig:
        for night in nights or (*SCENARIOS, *SEEDS):
            task = Task.parse(night)
            with rig.running(SCENARIOS[task.scenario], task.plan()) as machine:
                histories = [*machine.reaper_histories, *histories_of(machine.hub)]
            for history in histories:
                if fault := replay_fault(history, every_turn=True):
                    raise AssertionError(f"{night}, {history.instance}: {fault}")
            path = GOLDEN / f"{night.replace('#', '-seed-')}{SUFFIX}"
            write(path, _distinct(histories))
            print(f"{path.name}: {len(histories)} histories, {path.stat().st_size} bytes")
    return 0


def _distinct(histories: list[History]) -> list[History]:
    """Those that took different ways: the first of each sequence of kinds of events."""
    ways: dict[tuple[str, ...], History] = {}
    for history in histories:
        way = (history.name, *(str(e.WhichOneof("eventType")) for e in history.events))
        ways.setdefault(way, history)
    return list(ways.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
