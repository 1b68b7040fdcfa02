"""ARM calls per machine's life: create, run, deallocate, delete and every look between. At most 15, none too early.

`python -m bench.arm_calls`. One run of the real app on the simulator; the count is the simulator's own log.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.support.estate import declaration, estate

MOST = 15


def main() -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        estate(Path(folder) / "w", [declaration("calls")], speed=6) as here,
    ):
        here.land("calls")
        run = here.score("calls")
        events = here.world.control.events()
    mine = [e for e in events if e["type"] == "request" and run.vm in e["path"]]
    early = [e for e in events if e["type"] == "early_poll"]
    for (method, what), count in sorted(Counter((e["method"], _what(e["path"])) for e in mine).items()):
        print(f"{count:>4}  {method:<7} {what}")
    print(
        f"{len(mine):>4}  calls for one machine (at most {MOST}); {len(early)} before their Retry-After (at most 0)"
    )
    return 0 if len(mine) <= MOST and not early and run.outcome["state"] == "Completed" else 1


def _what(path: str) -> str:
    """The resource type of a path and what is done with it, without names."""
    parts = path.split("?")[0].split("/providers/")[-1].split("/")
    return "/".join(p for n, p in enumerate(parts) if n in (0, 1, 3, 5))


if __name__ == "__main__":
    sys.exit(main())
