"""1,000 trials of one retraining through the tree, with bounded histories: `python -m bench.trials [TRIALS]`.

The app's orchestrators and activities as they are deployed, on the hub's executor; the simulated Azure and the agent in
this process under a virtual clock (tests/crash), where a training program costs nothing. What is measured is the tree:
how many orchestrations, the longest history, the largest payload, and that every trial has its one record.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from datetime import timedelta

from shared.domain.training_terms import CHUNK
from tests.crash.histories import histories_of
from tests.crash.plans import Plan
from tests.crash.retraining import Retraining
from tests.crash.rig import Rig
from tests.crash.scenario import state_of
from tests.crash.verdict import MAX_EVENTS, MAX_PAYLOAD, violations

TRIALS, CONCURRENCY = 1_000, 20


def main(trials: int) -> int:
    logging.disable(logging.CRITICAL)
    wide = Retraining(
        "wide", trials=trials, concurrency=CONCURRENCY, horizon=timedelta(days=3),
        changes={"limits": {"deadline": "PT23H", "ttl": "P1D"}},
    )  # fmt: skip
    started = time.perf_counter()
    with Rig() as rig, rig.running(wide, Plan()) as machine:
        wall = time.perf_counter() - started
        histories = list(histories_of(machine.hub))
        faults, state = violations(machine), state_of(machine)
        longest = max(histories, key=lambda each: len(each.events))
        payload = max(each.largest_payload for each in histories)
        virtual = timedelta(seconds=round(machine.clock.time() - machine.started))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{trials} trials, {CONCURRENCY} at once, at most {CHUNK} in a history: {state}; {len(histories)} histories, "
        f"the longest {len(longest.events)} events ({longest.instance}), the largest payload {payload} bytes; "
        f"{virtual} of simulated time in {wall:.0f} s, peak {peak_mb:.0f} MB"
    )
    for fault in faults:
        print(f"FAULT {fault}")
    ok = state == "Completed" and not faults and len(longest.events) <= MAX_EVENTS and payload <= MAX_PAYLOAD
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else TRIALS))
