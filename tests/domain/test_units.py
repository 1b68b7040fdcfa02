"""Every unit is judged by itself; what is not proved better stays as it is, and no unit ever loses the model it has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.gate import Ruling
from shared.domain.jobs import BlobRef
from shared.domain.retraining import FirstModel, Gate
from shared.domain.units import (
    MOST_BYTES,
    Contract,
    Fate,
    Merged,
    ModelColumn,
    UnitLook,
    UnitModel,
    UnitsIndex,
    common_contract,
    merge,
    unit_blob,
    unit_key,
    verdict_of,
)

RULES = Gate(min_rows=100, first_model=FirstModel(min=0.6))
DOUBLE = ModelColumn(name="p", type="double")
CONTRACT = Contract(inputs=(ModelColumn(name="x", type="double"),), output=DOUBLE)
WON, LOST = (0.02, 0.01, 0.03), (0.01, -0.01, 0.03)


def _model(unit: str, **changes: Any) -> UnitModel:
    told = {"unit": unit, "key": unit_key(unit), "file": "model.joblib", "sha256": "a" * 64, "size": 9}
    return UnitModel.model_validate(
        {**told, "flavor": "sklearn", "contract": "c", "run": "before", **changes}
    )


def _index(*units: str) -> UnitsIndex:
    return UnitsIndex(column="carrier", contracts={"c": CONTRACT}, units=tuple(_model(u) for u in units))


def _look(
    unit: str, gain: tuple[float, float, float] | None, *, rows: int = 500, auc: float = 0.7, **changes: Any
) -> UnitLook:
    """What is found of a unit: against its champion with this gain, or alone."""
    models: dict[str, Any] = {"challenger": {"metrics": {"auc": auc}}}
    evaluation: dict[str, Any] = {"rows": rows, "models": models}
    if gain is not None:
        models["champion"] = {"metrics": {"auc": auc - gain[0]}}
        evaluation["difference"] = {"auc": dict(zip(("value", "low", "high"), gain, strict=True))}
    told = {"id": f"t-{unit}", "value": unit, "container": "muster", "blob": f"runs/r/{unit}/model.joblib",
            "file": "model.joblib", "sha256": "b" * 64, "size": 9, "flavor": "sklearn", "contract": "c",
            "evaluation": evaluation}  # fmt: skip
    return UnitLook.model_validate({**told, **changes})


def _merge(
    looks: list[UnitLook], held: UnitsIndex | None, *, failed: tuple[str, ...] = (), **contracts: Contract
) -> Merged:
    trials = {look.value: look.id for look in looks} | {unit: f"t-{unit}" for unit in failed}
    return merge(
        run="r", column="carrier", trials=trials, failures={f"t-{unit}": "exit code 1" for unit in failed},
        looks={look.id: look for look in looks}, contracts={"c": CONTRACT, **contracts}, champion=held,
        prefix="m/1/", rules=RULES,
    )  # fmt: skip


def _fates(merged: Merged) -> dict[str, Fate]:
    return {row.unit: row.fate for row in merged.rows}


def _runs(merged: Merged) -> dict[str, str]:
    """Which run each unit's model in the next version is of."""
    assert merged.next is not None
    return {source.model.unit: source.model.run for source in merged.next.units}


def test_winners_go_in_and_everybody_else_keeps_what_it_has() -> None:
    looks = [_look("won", WON), _look("lost", LOST), _look("thin", WON, rows=99), _look("new", None),
             _look("bad-new", None, auc=0.5)]  # fmt: skip
    merged = _merge(looks, _index("won", "lost", "thin", "gone", "broke"), failed=("broke", "broke-new"))

    assert _fates(merged) == {
        "won": Fate.PROMOTED, "lost": Fate.KEPT, "thin": Fate.KEPT, "new": Fate.NEW, "bad-new": Fate.REFUSED,
        "gone": Fate.GONE, "broke": Fate.FAILED, "broke-new": Fate.FAILED,
    }  # fmt: skip
    assert _runs(merged) == {
        "won": "r", "new": "r", "lost": "before", "thin": "before", "gone": "before", "broke": "before",
    }  # fmt: skip
    assert merged.next is not None
    blobs = {source.model.unit: source.blob for source in merged.next.units}
    assert blobs["won"] == "runs/r/won/model.joblib"
    assert blobs["lost"] == f"m/1/units/{unit_key('lost')}/model.joblib" == unit_blob("m/1/", _model("lost"))
    assert merged.summary(BlobRef(container="muster", blob="t")).held == 6


def test_nothing_better_means_no_new_version_and_says_of_how_many() -> None:
    merged = _merge([_look("a", LOST), _look("b", LOST)], _index("a", "b"), failed=("c",))

    verdict = verdict_of(merged, RULES, most=10)
    assert merged.next is None and verdict.ruling is Ruling.REJECTED
    assert "2 kept, 1 failed" in verdict.reason
    unjudged = _merge([], _index("a"), failed=("a",))
    assert verdict_of(unjudged, RULES, most=10).ruling is Ruling.INCONCLUSIVE


def test_a_unit_that_was_not_judged_or_cannot_be_read_or_is_too_large_is_not_promoted() -> None:
    champion = _index("a", "b", "c")
    unread = _look("a", WON, evaluation={"rows": "many"})
    large, empty = _look("b", WON, size=MOST_BYTES + 1), _look("c", WON, size=0)
    merged = _merge([unread, large, empty], champion)
    assert set(_fates(merged).values()) == {Fate.KEPT}

    unseen = merge(run="r", column="u", trials={"a": "t-a"}, failures={}, looks={}, contracts={}, champion=champion,
                   prefix="m/1/", rules=RULES)  # fmt: skip
    assert _fates(unseen) == {"a": Fate.KEPT, "b": Fate.GONE, "c": Fate.GONE}
    assert unseen.rows[0].reason == "it was not judged"


def test_a_version_takes_every_column_of_its_units_and_only_what_goes_together() -> None:
    more = CONTRACT.model_copy(update={"inputs": (*CONTRACT.inputs, ModelColumn(name="z", type="long"))})
    common, _ = common_contract([CONTRACT, more])
    assert common == more

    for other, why in (
        (CONTRACT.model_copy(update={"inputs": (ModelColumn(name="x", type="long"),)}), "x is double for some"),
        (CONTRACT.model_copy(update={"output": ModelColumn(name="q", type="double")}), "their output differ"),
        (CONTRACT.model_copy(update={"keys": ("id",)}), "their keys differ"),
    ):  # fmt: skip
        merged = _merge([_look("a", WON, contract="d"), _look("b", LOST)], _index("a", "b"), d=other)
        assert merged.next is None and why in merged.fault
        verdict = verdict_of(merged, RULES, most=10)
        assert verdict.ruling is Ruling.INCONCLUSIVE and why in verdict.reason


@given(
    st.dictionaries(
        st.sampled_from([f"u{n}" for n in range(12)]),
        st.tuples(
            st.booleans(),
            st.sampled_from(["won", "lost", "alone", "failed", "absent"]),
            st.integers(0, 300),
        ),
        max_size=12,
    )
)
def test_no_unit_loses_its_model_and_none_changes_without_proof(
    units: dict[str, tuple[bool, str, int]],
) -> None:
    held = [unit for unit, (has, _, _) in units.items() if has]
    looks = [
        _look(unit, WON if what == "won" else LOST if what == "lost" else None, rows=rows)
        for unit, (_, what, rows) in units.items()
        if what in ("won", "lost", "alone")
    ]
    failed = tuple(unit for unit, (_, what, _) in units.items() if what == "failed")

    merged = _merge(looks, _index(*held) if held else None, failed=failed)

    changed = {row.unit for row in merged.rows if row.fate in (Fate.PROMOTED, Fate.NEW)}
    for unit in changed:
        has, what, rows = units[unit]
        assert rows >= RULES.min_rows and (what == "won" if has else what in ("won", "lost", "alone"))
    assert {row.unit for row in merged.rows} >= set(held)
    assert (merged.next is not None) == bool(changed)
    if merged.next:
        runs = _runs(merged)
        assert set(runs) == set(held) | changed
        assert all((runs[unit] == "r") == (unit in changed) for unit in runs)


def test_folders_of_units_are_safe_names_and_no_two_are_one() -> None:
    odd = ["B6", "b6", "../up", "ü", " ", "a/b", "a_b", "x" * 300, "x" * 301]
    keys = [unit_key(unit) for unit in odd]

    assert len({key.lower() for key in keys}) == len(odd)
    assert all(key.isascii() and "/" not in key and ".." not in key and len(key) <= 49 for key in keys)


@pytest.mark.parametrize("count", [11_000])
def test_eleven_thousand_units_are_a_few_rows_of_a_history_and_an_index_of_few_megabytes(count: int) -> None:
    units = [f"store-{n:05d}" for n in range(count)]
    looks = [_look(unit, WON if n % 3 else LOST) for n, unit in enumerate(units)]
    merged = _merge(looks, _index(*units))

    verdict = verdict_of(merged, RULES, most=10)
    assert len(verdict.model_dump_json()) < 4_000 and len(verdict.rows) == 10
    assert merged.next is not None
    assert len(merged.next.index.model_dump_json()) < 4_000_000
