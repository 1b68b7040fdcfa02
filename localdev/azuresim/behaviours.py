"""What the simulator does, and how we know that Azure does it.

One entry a behaviour, each with its source: `doc` (Microsoft's documentation and specifications), `sdk` (what the real
SDKs send or need, measured), `recorded` (public error logs, issues and the agent's own source), `assumed` (nobody told
us). `covers` names what in the code the entry answers for: `error:Code` for an ARM error code, `step:name` for a step
of the scheduler, `time:NAME` for a duration. A test holds this table against the code, so that a new refusal, step or
duration cannot come in without saying where it is from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from localdev.azuresim.behaviours_compute import COMPUTE
from localdev.azuresim.behaviours_core import CORE
from localdev.azuresim.behaviours_endpoints import ENDPOINTS
from localdev.azuresim.behaviours_events import EVENTS
from localdev.azuresim.behaviours_ml import ML
from localdev.azuresim.behaviours_ml_jobs import ML_JOBS
from localdev.azuresim.behaviours_serving import SERVING
from localdev.azuresim.faults import PRESETS

Source = Literal["doc", "sdk", "recorded", "assumed"]
SOURCES: tuple[str, ...] = get_args(Source)


@dataclass(frozen=True)
class Behaviour:
    what: str
    source: str
    reference: str
    covers: tuple[str, ...] = ()


def behaviours() -> tuple[Behaviour, ...]:
    """The whole table: what is written down here, and one entry for each fault that can be asked for by name."""
    return (
        *(Behaviour(*row) for row in (*CORE, *COMPUTE, *ML, *ML_JOBS, *ENDPOINTS, *EVENTS, *SERVING)),
        *_faults(),
    )


def _faults() -> Iterator[Behaviour]:
    for name, preset in PRESETS.items():
        yield Behaviour(
            f"the fault {name} looks like Azure's", preset["source"], f"failure catalogue {preset['row']}"
        )
