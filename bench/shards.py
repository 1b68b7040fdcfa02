"""Orchestration overhead per shard: what a run costs beside the scoring itself, at 100, 1,000 and 10,000 shards.

`python -m bench.shards [N ...]`. The real app on platform `local`: one tiny input per shard. Overhead is the run's wall
time less the agent's own time at work (from its first to its last progress), divided by the shards. The history of the
root orchestration must stay under 200 events however many shards there are.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.estate import Estate, declaration, estate

SIZES = (100, 1_000, 10_000)
MOST_EVENTS = 200


def main(sizes: tuple[int, ...]) -> int:
    names = {n: f"shards-{n}" for n in sizes}
    declarations = [
        declaration(name, compute={"platform": "local"}, fanout={"maxShards": n, "attempts": 1})
        for n, name in names.items()
    ]
    ok, before = True, None
    print(
        f"{'shards':>8} {'run s':>8} {'agent s':>8} {'overhead ms/shard':>18} {'root events':>12} {'batch events':>13}"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        estate(Path(folder) / "world", declarations, speed=20) as here,
    ):
        for n, name in names.items():
            land(here, name, n)
            began = time.monotonic()
            run = here.start(name)
            here.until(run, lambda report: report["percent"] > 0, 600)
            first = time.monotonic()
            here.finish(run, seconds=1800)
            whole = time.monotonic() - began
            agent = agent_seconds(here, run.id, fallback=whole - (first - began))
            root, batch = here.world.history_length(run.id), here.world.history_length(f"{run.id}.b00")
            overhead = (whole - agent) / n * 1000
            print(f"{n:>8} {whole:>8.1f} {agent:>8.1f} {overhead:>18.2f} {root:>12} {batch:>13}")
            ok &= (
                run.outcome["state"] == "Completed"
                and root < MOST_EVENTS
                and (before is None or overhead <= before)
            )
            before = overhead
    print("overhead falls, root history bounded" if ok else "NOT as promised")
    return 0 if ok else 1


def land(here: Estate, name: str, n: int) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": [1], "distance": [1.0], "hour": [1]}), buffer)
    data = buffer.getvalue()
    with ThreadPoolExecutor(8) as uploads:
        list(
            uploads.map(
                lambda i: here.landing.upload_blob(f"{name}/{i:05d}.parquet", data, overwrite=True), range(n)
            )
        )
    here.settle_second()


def agent_seconds(here: Estate, run: str, *, fallback: float) -> float:
    """From the job's being written to the agent's last word, by Blob Storage's own stamps."""
    job = here.state.get_blob_client(f"runs/{run}/jobs/b00-e1.json").get_blob_properties()
    last = here.state.get_blob_client(f"runs/{run}/progress/b00-e1.json").get_blob_properties()
    seconds: float = (last.last_modified - job.last_modified).total_seconds()
    return min(fallback + 1, seconds)


if __name__ == "__main__":
    sys.exit(main(tuple(int(a) for a in sys.argv[1:]) or SIZES))
