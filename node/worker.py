"""A process that scores shards one after the other, and may die at any of them: the supervisor outlives it.

It speaks through one pipe. It sends ("ready", None), or ("broken", (kind, message)) if model or code cannot be loaded,
and for each shard ("begin", [indices]) and ("item", (index, status, rows)), then ("done", record) or
("failed", (kind, message)).
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from node.errors import CodeLoadError, NodeError, reason_of
from node.job import ModelSource, ScoreJob, Shard
from node.lifeline import die_with_parent
from node.logs import log_as_json
from node.models import UNITS, ModelCard, load_model
from node.storage import Store

if TYPE_CHECKING:  # pandas and pyarrow are loaded once, in the fork server, and never in the agent itself
    from node.scoring import Scorer
    from node.shard import ShardScorer


@dataclass(frozen=True)
class Setup:
    """What every worker of a job needs. `job` without its shards: those come one by one."""

    job: ScoreJob
    client_id: str | None
    card: ModelCard | None
    model_folder: Path
    code_folder: Path
    work: Path


def work(setup: Setup, pipe: Connection) -> None:
    """The life of a worker: load once, then score whatever shard comes, until the pipe closes or says None."""
    _belong_to_the_agent()
    log_as_json()
    from node.shard import ShardScorer

    folder = setup.work / f"worker-{os.getpid()}"
    folder.mkdir()
    try:
        store = Store(setup.job.account_url, setup.client_id)
        scorer = _scorer(setup, store, folder)
    except NodeError as error:
        pipe.send(("broken", (error.kind, reason_of(error))))
        return
    shards = ShardScorer(store, setup.job, scorer, folder)
    pipe.send(("ready", None))
    with contextlib.suppress(EOFError):
        while (shard := pipe.recv()) is not None:
            _score(shards, shard, pipe)


def _score(shards: ShardScorer, shard: Shard, pipe: Connection) -> None:
    try:
        record = shards.score(shard, lambda event, value: pipe.send((event, value)))
    except NodeError as error:
        pipe.send(("failed", (error.kind, reason_of(error))))
    else:
        pipe.send(("done", record))


def _scorer(setup: Setup, store: Store, folder: Path) -> Scorer:
    code = setup.job.code
    if code is not None and setup.card is not None and setup.card.flavor == UNITS:
        raise CodeLoadError(
            "a model per unit is scored by the built-in scorer; scoring code is given none of its models"
        )
    if code is not None:
        from node.usercode import UserScorer

        inputs, column = folder / "inputs", setup.card.output.name if setup.card else None
        size = code.mini_batch_size
        return UserScorer(setup.code_folder, code.entry, setup.model_folder, inputs, size, column)
    from node.scoring import BuiltInScorer

    assert setup.card is not None and setup.job.model is not None  # a job without code has a model: parse_job
    if setup.card.flavor == UNITS:
        return _unit_scorer(setup.card, setup.job.model, setup.model_folder, store, folder)
    return BuiltInScorer(load_model(setup.model_folder, setup.card), setup.card)


def _unit_scorer(card: ModelCard, source: ModelSource, index: Path, store: Store, folder: Path) -> Scorer:
    from node.unit_models import UnitModels, parse_index
    from node.unit_scoring import UnitScorer

    place = folder / "units"
    place.mkdir()
    models = UnitModels(store, source, parse_index((index / card.file).read_bytes(), card), place)
    return UnitScorer(models, card, source.unknown_units)


def preloads(job: ScoreJob) -> list[str]:
    """What the fork server imports, once for all workers and for every fresh one after a death."""
    if job.code:
        return ["node.nursery", "node.shard", "node.usercode"]
    assert job.model is not None
    sklearn = ["joblib", *(f"sklearn.{name}" for name in ("pipeline", "compose", "ensemble", "linear_model"))]
    flavor = sklearn if job.model.flavor in ("sklearn", UNITS) else ["onnxruntime"]
    return ["node.nursery", "node.shard", "node.scoring", "pandas", *flavor]


def _belong_to_the_agent() -> None:
    """Die with the agent, be the first to go when memory runs out, and leave SIGTERM to the agent."""
    die_with_parent()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # no SIG_IGN: what user code starts would inherit that
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
