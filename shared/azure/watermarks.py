"""How far a workload's inputs are published. Moved by one run at a time, in step with that run's `_SUCCESS`.

A run first claims the watermark it read when it froze its inputs (If-Match on the etag), then commits, then settles it.
Two runs that froze the same inputs cannot both claim, so nothing is published twice.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from shared.azure import blob, ledger
from shared.config import settings
from shared.domain.errors import ConflictError
from shared.domain.scoring import PublishRequest

START = datetime.min.replace(tzinfo=UTC)
_EMPTY: dict[str, Any] = {"through": None, "run": None, "claim": None}


def _path(workload: str) -> str:
    return f"watermarks/{workload}.json"


def _look(workload: str) -> tuple[dict[str, Any], str]:
    found = blob.read_with_etag(settings().state_container, _path(workload))
    return (json.loads(found.data), found.etag) if found else (_EMPTY, "")


def read(workload: str) -> tuple[datetime, str]:
    """What is published already (inputs modified up to then), and the record's etag ("" while there is none).

    A claim whose run committed and then died counts as published: its `_SUCCESS` is what readers believe.
    """
    state, etag = _look(workload)
    through, claim = state["through"], state["claim"]
    if claim and blob.exists(claim["container"], claim["success"]):
        through = claim["through"]
    return (datetime.fromisoformat(through) if through else START), etag


def claim(publish: PublishRequest) -> None:
    """Take the right to publish. Raises ConflictError if another run claimed or published these inputs meanwhile."""
    workload, run = publish.request.workload.name, publish.request.run
    state, etag = _look(workload)
    holder = (state["claim"] or {}).get("run")
    if run in (state["run"], holder):
        return
    if etag != publish.inputs.watermark_etag:
        raise ConflictError(
            f"{holder or state['run']} published inputs of {workload} after this run froze its own; "
            "nothing was published here, the next run scores what is left",
            code="WatermarkMoved",
        )
    mine = {
        "run": run,
        "through": _through(publish),
        "container": publish.request.workload.output.container,
        "success": f"{publish.output_path}_SUCCESS",
    }
    _write(workload, {**state, "claim": mine}, etag)


def settle(publish: PublishRequest) -> None:
    """The inputs are published: move the watermark. Raises ConflictError if the claim is not ours."""
    workload, run = publish.request.workload.name, publish.request.run
    state, etag = _look(workload)
    holder = (state["claim"] or {}).get("run")
    if state["run"] == run and holder is None:
        return
    if holder != run:
        raise ConflictError(
            f"the claim of {run} on the watermark of {workload} is gone", code="WatermarkMoved"
        )
    _write(workload, {"through": _through(publish), "run": run, "claim": None}, etag)


def _through(publish: PublishRequest) -> str | None:
    return publish.inputs.through.isoformat() if publish.inputs.through else None


def _write(workload: str, state: dict[str, Any], etag: str) -> None:
    if not blob.write_if_match(settings().state_container, _path(workload), ledger.encode(state), etag=etag):
        raise ConflictError(
            f"another run of {workload} moved its watermark at this moment", code="WatermarkMoved"
        )
