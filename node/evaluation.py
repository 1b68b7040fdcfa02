"""An evaluation job: models judged on frozen rows, each in a sealed child that sees no labels and no other model.

This process holds the machine's identity and opens neither data nor models: children do (test_set.py, prediction.py,
comparison.py), and what they leave are numbers and one JSON document. That is stricter than scoring, whose workers
open their own storage: there the model was registered by us, here a challenger comes straight out of somebody's code.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from node.child import run_ours
from node.document import Document
from node.errors import ModelLoadError, NodeError
from node.evaluate_job import EvaluateJob, Judged, Rules, parse_evaluate_job
from node.evaluation_files import (
    COMPARISON,
    EVALUATION,
    FEATURES,
    PREDICTED,
    PREPARED,
    TEST_SET,
    predictions_of,
)
from node.frozen import fetch_items, read_frozen
from node.job import Item
from node.models import CARD, CARD_MAX_BYTES, ModelCard, parse_card
from node.plain_files import read_plain
from node.storage import NotThere, Store

logger = logging.getLogger(__name__)
_STEP_TIMEOUT_S = 4 * 3600.0
_DOUBLE = 8


def errand_of(raw: bytes, account_url: str) -> Document:
    """The evaluation. A model that fails has its reason in it."""
    job = parse_evaluate_job(raw, account_url)
    return Document(
        job.head,
        "evaluation",
        job.head.path("evaluation.json"),
        lambda store, stop, work: _Attempt(job, store, stop, work).document(),
        lambda found: int(found["rows"]),
    )


class _Attempt:
    """`errors`: why a model cannot be judged, by role; the others are judged all the same."""

    def __init__(self, job: EvaluateJob, store: Store, stop: threading.Event, work: Path) -> None:
        self._job, self._store, self._stop, self._work = job, store, stop, work
        self._case = work / "case"
        self._case.mkdir()
        self._errors: dict[str, str] = {}

    def document(self) -> bytes:
        cards = {model.role: card for model in self._job.models if (card := self._fetch_model(model))}
        items = read_frozen(self._store, self._job.data).test
        fetch_items(self._store, items, self._folder("data"), self._stop)
        rows = self._prepare(items, cards)
        judged = [role for role in cards if role not in self._errors]
        with ThreadPoolExecutor(len(self._job.models)) as pool:
            list(pool.map(lambda role: self._predict(role, rows), judged))
        return self._compare()

    def _fetch_model(self, model: Judged) -> ModelCard | None:
        folder = self._folder("models", model.role)
        try:
            card = fetch_judged(self._store, model, folder)
        except ModelLoadError as error:
            self._errors[model.role] = str(error)
            return None
        if self._job.label in (column.name for column in card.inputs):
            self._errors[model.role] = f"the label {self._job.label} is among the model's inputs"
            return None
        return card

    def _prepare(self, items: tuple[Item, ...], cards: dict[str, ModelCard]) -> int:
        """How many rows have a label. Which models lack a column is among the errors then."""
        specification = {
            "data": str(self._work / "data"),
            "blobs": [item.blob for item in items],
            "label": self._job.label,
            "slices": self._job.rules.slices,
            "inputs": {role: [vars(column) for column in card.inputs] for role, card in cards.items()},
        }
        (self._case / TEST_SET).write_text(json.dumps(specification))
        self._step("node.test_set", str(self._case), writable=self._case)
        prepared = json.loads((self._case / PREPARED).read_bytes())
        faults = prepared["faults"] | (dict.fromkeys(cards, prepared["fault"]) if prepared["fault"] else {})
        self._errors |= {role: fault for role, fault in faults.items() if role not in self._errors}
        return int(prepared["rows"])

    def _predict(self, role: str, rows: int) -> None:
        out = self._folder("out", role)
        ended = run_ours(
            "node.prediction",
            *(str(path) for path in (self._work / "models" / role, self._case / FEATURES / role, out)),
            writable=out,
            stop=self._stop,
            timeout_s=self._job.timeout_s,
        )
        if ended.code != 0:
            self._errors[role] = ended.words
            return
        try:
            self._take_predictions(out, self._case / predictions_of(role), rows)
        except (OSError, NodeError) as error:
            self._errors[role] = f"no predictions: {error}"

    def _take_predictions(self, out: Path, target: Path, rows: int) -> None:
        """A copy that the model's process, which made them, cannot change any more."""
        data = read_plain(out, PREDICTED, rows * _DOUBLE)
        if len(data) != rows * _DOUBLE:
            raise NodeError(f"{len(data)} bytes, {rows * _DOUBLE} for {rows} rows are expected")
        target.write_bytes(data)

    def _compare(self) -> bytes:
        specification = comparison_of(self._job.models, self._errors, self._job.rules)
        (self._case / COMPARISON).write_text(json.dumps(specification))
        out = self._folder("out", "comparison")
        self._step("node.comparison", str(self._case), str(out), writable=out)
        return (out / EVALUATION).read_bytes()

    def _step(self, module: str, *arguments: str, writable: Path) -> None:
        """A step of our own: if it fails, the job does."""
        ended = run_ours(module, *arguments, writable=writable, stop=self._stop, timeout_s=_STEP_TIMEOUT_S)
        if ended.code != 0:
            logger.error("a step failed", extra={"step": module, "said": ended.log.decode(errors="replace")})
            raise NodeError(f"{module}: {ended.words}")

    def _folder(self, *names: str) -> Path:
        folder = self._work.joinpath(*names)
        folder.mkdir(parents=True)
        return folder


def comparison_of(models: Iterable[Judged], errors: Mapping[str, str], rules: Rules) -> dict[str, Any]:
    """What comparison.py is told."""
    return {
        "models": [
            {name: getattr(model, name) for name in ("role", "name", "version", "sha256")} for model in models
        ],
        "errors": errors,
        "metrics": rules.metrics,
        "confidence": rules.confidence,
        "bootstrap": rules.bootstrap,
        "seed": rules.seed,
    }


def fetch_judged(
    store: Store, model: Judged, folder: Path, contract: Mapping[str, Any] | None = None
) -> ModelCard:
    """Put card and model file into `folder`: a challenger's card knows neither name nor version yet.

    The card is the one beside the file, or made of the `contract`. Raises ModelLoadError unless the file is the one
    that was promised.
    """
    prefix = model.prefix.rstrip("/")
    try:
        raw = (
            {**contract, "flavor": model.flavor} if contract else _card_beside(store, model.container, prefix)
        )
        found = store.fetch(model.container, f"{prefix}/{model.file}", folder / model.file)
    except NotThere as error:
        raise ModelLoadError(str(error)) from error
    if found != model.sha256:
        raise ModelLoadError(f"{model.file}: sha256 {found}, promised {model.sha256}")
    if raw.get("flavor") != model.flavor:
        raise ModelLoadError(f"{CARD} is not that of a model of flavor {model.flavor}")
    known = {"name": model.name, "version": model.version, "file": model.file, "sha256": model.sha256}
    data = json.dumps(raw | known).encode()
    (folder / CARD).write_bytes(data)
    return parse_card(data)


def _card_beside(store: Store, container: str, prefix: str) -> dict[str, Any]:
    try:
        raw = json.loads(store.read(container, f"{prefix}/{CARD}", max_bytes=CARD_MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{CARD} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ModelLoadError(f"{CARD}: an object is expected")
    return raw
