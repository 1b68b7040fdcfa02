"""The models of many units judged on frozen rows, each unit on its own: a job of some hundred units, in a few processes.

As evaluation.py for two models, of which every rule holds: this process opens neither data nor models. One sealed child
splits the test set and one makes each unit's case; one for each role loads that role's models, one after the other; as
many as the machine has cores compare. What is left is one document, created once.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from node.child import run_ours
from node.document import Document
from node.errors import ModelLoadError, NodeError
from node.evaluate_job import ROLES
from node.evaluation import comparison_of, fetch_judged
from node.evaluation_files import COMPARISON, PREDICTED, PREPARED, predictions_of
from node.frozen import fetch_items, read_frozen
from node.models import ModelCard
from node.plain_files import read_plain
from node.storage import Store
from node.unit_files import CASES, FAULT, FAULT_CHARS, FOUND, write_todo
from node.unit_job import Unit, UnitsJob, parse_units_job
from node.units import RESULT, SPECIFICATION

SCHEMA = "muster.unit-evaluations/1"
_STEP_TIMEOUT_S = 4 * 3600.0
_START_S = 120.0  # what a child may take beside its models' own time
_FETCHES = 8
_DOUBLE = 8


def errand_of(raw: bytes, account_url: str) -> Document:
    """The evaluations of the job's units. What fails has its reason in it."""
    job = parse_units_job(raw, account_url)
    return Document(
        job.head,
        "evaluation",
        job.head.path("units", "evaluations", f"{job.chunk:05d}.json"),
        lambda store, stop, work: json.dumps(
            _Attempt(job, store, stop, work).document(), sort_keys=True
        ).encode(),
        lambda found: sum(int(unit["evaluation"]["rows"]) for unit in found["units"]),
    )


class _Attempt:
    """`errors`: why a model cannot be judged, by (unit's id, role); the others are judged all the same."""

    def __init__(self, job: UnitsJob, store: Store, stop: threading.Event, work: Path) -> None:
        self._job, self._store, self._stop, self._work = job, store, stop, work
        self._cases = self._folder("cases")
        self._errors: dict[tuple[str, str], str] = {}
        self._cards: dict[tuple[str, str], ModelCard] = {}
        self._sizes: dict[str, int] = {}

    def document(self) -> dict[str, Any]:
        self._fetch_models()
        items = read_frozen(self._store, self._job.data).test
        fetch_items(self._store, items, self._folder("data"), self._stop)
        self._prepare()
        with ThreadPoolExecutor(len(ROLES)) as pool:
            list(pool.map(self._predict, ROLES))
        evaluations = self._compare()
        contracts = dict[str, Any]()
        units = [self._told(unit, evaluations[unit.id], contracts) for unit in self._job.units]
        return {"schema": SCHEMA, "chunk": self._job.chunk, "contracts": contracts, "units": units}

    def _fetch_models(self) -> None:
        pairs = [(unit, role) for unit in self._job.units for role in unit.models]
        with ThreadPoolExecutor(_FETCHES) as pool:
            list(pool.map(lambda pair: self._fetch(*pair), pairs))

    def _fetch(self, unit: Unit, role: str) -> None:
        folder, model = self._folder("models", role, unit.id), unit.models[role]
        contract = self._job.contracts.get(unit.contracts.get(role, ""))
        try:
            card = fetch_judged(self._store, model, folder, contract)
        except ModelLoadError as error:
            self._errors[unit.id, role] = str(error)
            return
        if self._job.label in (column.name for column in card.inputs):
            self._errors[unit.id, role] = f"the label {self._job.label} is among the model's inputs"
            return
        self._cards[unit.id, role] = card
        if role == "challenger":
            self._sizes[unit.id] = (folder / card.file).stat().st_size

    def _prepare(self) -> None:
        """A case for each unit: its rows, without a label or with, and what each of its models takes of them."""
        rows = self._folder("rows")
        units = {unit.id: unit.value for unit in self._job.units}
        split = {"data": str(self._work / "data"), "column": self._job.column, "units": units}
        (rows / SPECIFICATION).write_text(json.dumps(split))
        self._step("node.units", str(rows), writable=rows)
        fault = json.loads((rows / RESULT).read_bytes())["fault"]
        asked = {
            "rows": str(rows),
            "units": {
                unit.id: {
                    "label": self._job.label,
                    "slices": self._job.rules.slices,
                    "inputs": self._inputs(unit),
                }
                for unit in self._job.units
            },
        }
        (self._cases / CASES).write_text(json.dumps(asked))
        self._step("node.unit_cases", str(self._cases), writable=self._cases)
        for unit in self._job.units:
            prepared = json.loads((self._cases / unit.id / PREPARED).read_bytes())
            whole = fault or prepared["fault"]
            faults = dict.fromkeys(unit.models, whole) if whole else prepared["faults"]
            for role, reason in faults.items():
                self._errors.setdefault((unit.id, role), reason)

    def _inputs(self, unit: Unit) -> dict[str, list[dict[str, str]]]:
        return {
            role: [vars(column) for column in self._cards[unit.id, role].inputs]
            for role in unit.models
            if (unit.id, role) in self._cards
        }

    def _predict(self, role: str) -> None:
        """One child after the other: one that dies at a unit is followed by another that goes on behind it."""
        left = [u.id for u in self._job.units if role in u.models and (u.id, role) not in self._errors]
        attempt = 0
        while left:
            attempt += 1
            out, place = self._folder("out", role, str(attempt)), self._folder("todo", role, str(attempt))
            asked = {"units": left, "role": role, "models": str(self._work / "models"), "cases": str(self._cases),
                     "timeout_s": self._job.timeout_s}  # fmt: skip
            limit_s = _START_S + float(self._job.timeout_s) * len(left)
            ended = run_ours(
                "node.unit_predictions", str(write_todo(place, asked)), str(out),
                writable=out, stop=self._stop, timeout_s=limit_s,
            )  # fmt: skip
            left = self._taken(role, out, left, ended.words if ended.code != 0 else "it left no predictions")

    def _taken(self, role: str, out: Path, units: list[str], words: str) -> list[str]:
        """Take what there is of each unit, up to the first of which there is nothing; the units behind that one."""
        for place, unit in enumerate(units):
            rows = int(json.loads((self._cases / unit / PREPARED).read_bytes())["rows"])
            try:
                data = read_plain(out / unit, PREDICTED, rows * _DOUBLE)
            except OSError:
                try:
                    fault = read_plain(out / unit, FAULT, FAULT_CHARS)
                    self._errors[unit, role] = fault.decode(errors="replace")
                    continue
                except OSError:
                    self._errors[unit, role] = words
                    return units[place + 1 :]
            if len(data) != rows * _DOUBLE:
                self._errors[unit, role] = f"{len(data)} bytes of predictions, {rows * _DOUBLE} are expected"
                continue
            (self._cases / unit / predictions_of(role)).write_bytes(data)
        return []

    def _compare(self) -> dict[str, dict[str, Any]]:
        for unit in self._job.units:
            errors = {
                role: self._errors[unit.id, role] for role in unit.models if (unit.id, role) in self._errors
            }
            specification = comparison_of(unit.models.values(), errors, self._job.rules)
            (self._cases / unit.id / COMPARISON).write_text(json.dumps(specification))
        shares = [
            share for n in range(self._job.workers) if (share := self._job.units[n :: self._job.workers])
        ]
        with ThreadPoolExecutor(len(shares)) as pool:
            found = list(pool.map(self._compare_some, range(len(shares)), shares))
        return {unit: evaluation for each in found for unit, evaluation in each.items()}

    def _compare_some(self, number: int, units: Sequence[Unit]) -> dict[str, dict[str, Any]]:
        out, place = (
            self._folder("out", "comparison", str(number)),
            self._folder("todo", "comparison", str(number)),
        )
        todo = write_todo(place, {"units": [unit.id for unit in units], "cases": str(self._cases)})
        self._step("node.unit_comparisons", str(todo), str(out), writable=out)
        found: dict[str, dict[str, Any]] = json.loads((out / FOUND).read_bytes())
        return found

    def _told(self, unit: Unit, evaluation: dict[str, Any], contracts: dict[str, Any]) -> dict[str, Any]:
        told = {"id": unit.id, "value": unit.value, "evaluation": evaluation, "model": None}
        challenger, card = unit.models.get("challenger"), self._cards.get((unit.id, "challenger"))
        if challenger is None or card is None:
            return told
        name, contract = contract_of(card)
        contracts[name] = contract
        model = {
            "container": challenger.container,
            "blob": f"{challenger.prefix.rstrip('/')}/{challenger.file}",
            "file": challenger.file,
            "sha256": challenger.sha256,
            "flavor": challenger.flavor,
            "size": self._sizes[unit.id],
            "contract": name,
        }
        return {**told, "model": model}

    def _step(self, module: str, *arguments: str, writable: Path) -> None:
        """A step of our own: if it fails, the job does."""
        ended = run_ours(module, *arguments, writable=writable, stop=self._stop, timeout_s=_STEP_TIMEOUT_S)
        if ended.code != 0:
            raise NodeError(f"{module}: {ended.words}")

    def _folder(self, *names: str) -> Path:
        folder = self._work.joinpath(*names)
        folder.mkdir(parents=True)
        return folder


def contract_of(card: ModelCard) -> tuple[str, dict[str, Any]]:
    """What a model takes and gives, and a name for it that is the same for all that share it."""
    contract: dict[str, Any] = {
        "inputs": [vars(column) for column in card.inputs],
        "output": vars(card.output),
        "keys": list(card.keys),
    }
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()[:16], contract
