"""A model for each of N units through the tree, with bounded histories: `python -m bench.units [UNITS]`.

As bench/trials.py: the app's orchestrators and activities on the hub's executor, the simulated Azure and the agent in
this process under a virtual clock, where a training program costs nothing. The judging is the agent's own: models
loaded, rows predicted, a thousand resamples a unit. Every unit has a champion, and a challenger that may be better.
"""

from __future__ import annotations

import io
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from tests.crash.histories import histories_of
from tests.crash.plans import Plan
from tests.crash.retraining import DAYS, Retraining
from tests.crash.rig import Rig
from tests.crash.scenario import state_of
from tests.crash.verdict import MAX_EVENTS, MAX_PAYLOAD
from tests.support import training

UNITS, ROWS_A_DAY = 500, 40


@dataclass(frozen=True)
class Stores(Retraining):
    """A unit is a store, with some rows on each day."""

    unit_column: str = "store"

    def land(self, put: Callable[[str, str, bytes], None]) -> None:
        super().land(put)
        for day in range(DAYS):
            put("landing", f"{training.PREFIX}{day:03d}.parquet", _day(day, len(self.units)))


@cache
def _day(day: int, units: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(io.BytesIO(training.a_day(day, summer=day >= training.WINTER)))
    picked = rows.take(pa.array([n * 7 % rows.num_rows for n in range(units * ROWS_A_DAY)]))
    stores = pa.array([f"store-{n % units:05d}" for n in range(units * ROWS_A_DAY)])
    buffer = io.BytesIO()
    pq.write_table(picked.append_column("store", stores), buffer)
    return buffer.getvalue()


def main(units: int) -> int:
    logging.disable(logging.CRITICAL)
    stores = Stores(
        "stores", units=tuple(f"store-{n:05d}" for n in range(units)), trials=units, concurrency=8,
        horizon=timedelta(days=5),
        changes={"gate": {"minRows": ROWS_A_DAY}, "limits": {"deadline": "P4D", "ttl": "P5D"},
                 "data": {"train": {"newest": 2}}},
    )  # fmt: skip
    started = time.perf_counter()
    with Rig() as rig, rig.running(stores, Plan()) as machine:
        wall = time.perf_counter() - started
        histories = list(histories_of(machine.hub))
        longest = max(histories, key=lambda each: len(each.events))
        payload = max(each.largest_payload for each in histories)
        storage, state = machine.cloud.storage, state_of(machine)
        outcome = json.loads(storage.read("muster", f"runs/{stores.run}/outcome.json") or b"{}")
        index = storage.read("models", "nightly-model/2/UNITS.json") or b"{}"
        virtual = timedelta(seconds=round(machine.clock.time() - machine.started))
    fates = {fate: n for fate, n in (outcome.get("units") or {}).items() if isinstance(n, int) and n}
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{units} units: {state}, {fates}; {len(histories)} histories, the longest {len(longest.events)} events "
        f"({longest.instance}), the largest payload {payload} bytes, the index {len(index)} bytes; "
        f"{virtual} of simulated time in {wall:.0f} s, peak {peak_mb:.0f} MB"
    )
    held = len(json.loads(index).get("units", ()))
    ok = (
        state == "Completed"
        and held == units
        and len(longest.events) <= MAX_EVENTS
        and payload <= MAX_PAYLOAD
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else UNITS))
