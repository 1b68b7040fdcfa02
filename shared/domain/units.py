"""A model per unit: what a version of such a model holds, and which unit's model the next version takes from where.

A unit is a value of a column, as text. The gate judges each unit by itself, as it judges a model that is alone: what
cannot be proved better leaves the unit the model it has. Pure; 11,000 units are one value in a blob, never in a history.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from shared.domain.gate import GateRow, Interval, Ruling, Verdict, judge, read_evaluation
from shared.domain.jobs import BlobRef
from shared.domain.retraining import Gate
from shared.domain.wire import Wire

UNITS = "units"  # the flavor of a version that holds a model for each unit
INDEX = "UNITS.json"
SCHEMA = "muster.units/1"
MOST_BYTES = 256 * 1024**2  # of one unit's model: what Blob Storage copies in one request
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class Fate(StrEnum):
    """What a run did to a unit."""

    PROMOTED = "promoted"  # its new model was proved better
    NEW = "new"  # its first model met gate.firstModel
    KEPT = "kept"  # the model it has stays
    FAILED = "failed"  # no valid trial; it stays with what it has, if anything
    GONE = "gone"  # there is nothing to train on any more; the model it has stays
    REFUSED = "refused"  # it has no model, and its first one may not be the first


class ModelColumn(Wire):
    name: str
    type: str


class Contract(Wire):
    """What a model takes and gives. Most units of a version share one."""

    inputs: tuple[ModelColumn, ...]
    output: ModelColumn
    keys: tuple[str, ...] = ()


class UnitModel(Wire):
    """A unit's model in a version. `run`: the one that trained it, whichever versions it has been in since."""

    unit: str
    key: str
    file: str
    sha256: str
    size: int
    flavor: str
    contract: str
    run: str = ""


class UnitsIndex(Wire):
    """The whole of a version, in the order of the units' names: its digest is the version's."""

    schema_version: str = SCHEMA
    column: str
    contracts: dict[str, Contract]
    units: tuple[UnitModel, ...]


class UnitSource(Wire):
    """A model of the next version, and the blob that it is copied from."""

    model: UnitModel
    container: str
    blob: str


class NextVersion(Wire):
    """What the next version will hold, and where each of its models is now."""

    column: str
    contracts: dict[str, Contract]
    common: Contract
    units: tuple[UnitSource, ...]

    @property
    def index(self) -> UnitsIndex:
        models = tuple(each.model for each in self.units)
        return UnitsIndex(column=self.column, contracts=self.contracts, units=models)


class UnitLook(Wire):
    """What the evaluation found of one unit, and its challenger. `evaluation` is as of a model that is alone."""

    id: str
    value: str
    container: str = ""
    blob: str = ""
    file: str = ""
    sha256: str = ""
    size: int = 0
    flavor: str = ""
    contract: str = ""
    evaluation: dict[str, object] = {}


class UnitRow(Wire):
    """A line of the table that a run leaves."""

    unit: str
    fate: Fate
    ruling: Ruling = Ruling.INCONCLUSIVE
    reason: str = ""
    trial: str = ""
    rows: int = 0
    champion: float | None = None
    challenger: float | None = None
    gain: Interval | None = None


class UnitsSummary(Wire):
    """How many units met which fate; `table` has a line for each. `held`: units of the new version, or of the old."""

    promoted: int = 0
    new: int = 0
    kept: int = 0
    failed: int = 0
    gone: int = 0
    refused: int = 0
    held: int = 0
    table: BlobRef | None = None


class Merged(Wire):
    """`next` is None where no unit got a new model, or no version can hold them together: `fault` says why."""

    rows: tuple[UnitRow, ...]
    next: NextVersion | None = None
    fault: str = ""

    @property
    def counts(self) -> Counter[Fate]:
        return Counter(row.fate for row in self.rows)

    def summary(self, table: BlobRef) -> UnitsSummary:
        counts = self.counts
        held = len(self.next.units) if self.next else 0
        return UnitsSummary(**{fate.value: counts[fate] for fate in Fate}, held=held, table=table)


def unit_key(unit: str) -> str:
    """The unit's folder: `unit_key("B6") -> "B6-9b3c..."`. What it is called is told by the digest, not by the name."""
    return f"{_UNSAFE.sub('_', unit)[:32]}-{hashlib.sha256(unit.encode()).hexdigest()[:16]}"


def unit_blob(prefix: str, model: UnitModel) -> str:
    """`models/{name}/{version}/units/{unit-key}/model.joblib`."""
    return f"{prefix.rstrip('/')}/units/{model.key}/{model.file}"


def merge(
    *,
    run: str,
    column: str,
    trials: Mapping[str, str],
    failures: Mapping[str, str],
    looks: Mapping[str, UnitLook],
    contracts: Mapping[str, Contract],
    champion: UnitsIndex | None,
    prefix: str,
    rules: Gate,
) -> Merged:
    """Every unit's fate, and the version that follows from them.

    `trials` is each planned unit's trial, `failures` why a trial is not valid, `looks` and `failures` by trial;
    `prefix` is where the champion's units are. No unit loses the model it has: one that fails, is not proved better or
    has no rows any more is carried over as it is.
    """
    held = {model.unit: model for model in champion.units} if champion else {}
    rows, sources = list[UnitRow](), list[UnitSource]()
    for unit in sorted({*trials, *held}):
        trial = trials.get(unit)
        look = looks.get(trial) if trial else None
        row = _row(unit, trial, look, failures, rules, has_model=unit in held)
        rows.append(row)
        if row.fate in (Fate.PROMOTED, Fate.NEW) and look:
            sources.append(_challenger(unit, look, run))
        elif unit in held:
            place = unit_blob(prefix, held[unit])
            sources.append(UnitSource(model=held[unit], container="models", blob=place))
    merged = Merged(rows=tuple(rows))
    if not any(row.fate in (Fate.PROMOTED, Fate.NEW) for row in rows):
        return merged
    known = {**(champion.contracts if champion else {}), **contracts}
    used = {name: known[name] for name in sorted({source.model.contract for source in sources})}
    common, fault = common_contract(used.values())
    if common is None:
        return merged.model_copy(update={"fault": fault})
    version = NextVersion(column=column, contracts=used, common=common, units=tuple(sources))
    return merged.model_copy(update={"next": version})


def _row(
    unit: str,
    trial: str | None,
    look: UnitLook | None,
    failures: Mapping[str, str],
    rules: Gate,
    *,
    has_model: bool,
) -> UnitRow:
    if trial is None:
        return UnitRow(unit=unit, fate=Fate.GONE, reason="no rows to train on; its model stays")
    if trial in failures:
        return UnitRow(unit=unit, fate=Fate.FAILED, trial=trial, reason=failures[trial][:200])
    stays = Fate.KEPT if has_model else Fate.REFUSED
    if look is None:
        return UnitRow(unit=unit, fate=stays, trial=trial, reason="it was not judged")
    try:
        evaluation = read_evaluation(look.evaluation)
    except ValueError:
        return UnitRow(unit=unit, fate=stays, trial=trial, reason="its evaluation is not readable")
    verdict = judge(evaluation, rules, has_champion=has_model)
    measured = next((row for row in verdict.rows if row.what == rules.metric), GateRow(what=rules.metric))
    row = UnitRow(
        unit=unit, fate=stays, ruling=verdict.ruling, reason=verdict.reason[:200], trial=trial, rows=evaluation.rows,
        champion=measured.champion, challenger=measured.challenger, gain=measured.difference,
    )  # fmt: skip
    if verdict.ruling is not Ruling.PROMOTE:
        return row
    if not 0 < look.size <= MOST_BYTES:
        why = f"its model has {look.size} bytes; a unit's may have {MOST_BYTES}"
        return row.model_copy(update={"ruling": Ruling.REJECTED, "reason": why})
    return row.model_copy(update={"fate": Fate.PROMOTED if has_model else Fate.NEW})


def _challenger(unit: str, look: UnitLook, run: str) -> UnitSource:
    model = UnitModel(
        unit=unit, key=unit_key(unit), file=look.file, sha256=look.sha256, size=look.size, flavor=look.flavor,
        contract=look.contract, run=run,
    )  # fmt: skip
    return UnitSource(model=model, container=look.container, blob=look.blob)


def common_contract(contracts: Iterable[Contract]) -> tuple[Contract | None, str]:
    """What a version of all these takes: every column that one of them takes. (None, why) where they do not go together.

    A column has one type, and output and keys are the same for all: they are columns of one table.
    """
    columns, output, keys = dict[str, str](), set[tuple[str, str]](), set[tuple[str, ...]]()
    for contract in contracts:
        output.add((contract.output.name, contract.output.type))
        keys.add(contract.keys)
        for column in contract.inputs:
            if columns.setdefault(column.name, column.type) != column.type:
                both = f"{columns[column.name]} for some units and {column.type} for others"
                return None, f"one version cannot hold them together: {column.name} is {both}"
    if len(output) != 1 or len(keys) != 1:
        what = "output" if len(output) != 1 else "keys"
        return None, f"one version cannot hold them together: their {what} differ"
    ((name, type_),) = output
    inputs = tuple(ModelColumn(name=name, type=columns[name]) for name in columns)
    return Contract(inputs=inputs, output=ModelColumn(name=name, type=type_), keys=keys.pop()), ""


def verdict_of(merged: Merged, rules: Gate, *, most: int) -> Verdict:
    """The run's own: Promote if any unit has a new model and a version can hold them. With the rows that tell most."""
    counts = merged.counts
    told = ", ".join(f"{counts[fate]} {fate}" for fate in Fate if counts[fate]) or "no unit"
    rows = tuple(_gate_row(row, rules) for row in telling(merged.rows, rules, most=most))
    if merged.next is not None:
        return Verdict(ruling=Ruling.PROMOTE, reason=f"units: {told}", rows=rows)
    is_rejected = any(row.ruling is Ruling.REJECTED for row in merged.rows) and not merged.fault
    ruling = Ruling.REJECTED if is_rejected else Ruling.INCONCLUSIVE
    return Verdict(ruling=ruling, reason=merged.fault or f"no unit has a better model: {told}", rows=rows)


def telling(rows: Iterable[UnitRow], rules: Gate, *, most: int) -> tuple[UnitRow, ...]:
    """The units that gained most, and those that would have lost most, gained or failed: at most `most` of them."""
    every = list(rows)
    measured = sorted(_measured(every, rules), key=lambda pair: (-pair[0], pair[1].unit))
    head = measured[: -(-most // 2)]
    tail = measured[len(head) :][-(most // 2) :]
    told = {row.unit for _, row in measured}
    silent = [row for row in every if row.unit not in told and row.fate is not Fate.GONE]
    return tuple([*(row for _, row in (*head, *tail)), *silent][:most])


def _measured(rows: Iterable[UnitRow], rules: Gate) -> Iterator[tuple[float, UnitRow]]:
    sign = 1.0 if rules.goal == "maximize" else -1.0
    for row in rows:
        if row.gain is not None:
            yield row.gain.value, row
        elif row.fate is Fate.NEW and row.challenger is not None:
            yield sign * row.challenger, row


def _gate_row(row: UnitRow, rules: Gate) -> GateRow:
    return GateRow(
        what=f"{rules.metric} of unit {row.unit}"[:160],
        champion=row.champion,
        challenger=row.challenger,
        difference=row.gain,
        rule=row.fate,
        ruling=row.ruling,
        reason=row.reason,
    )
