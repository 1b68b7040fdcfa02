"""Data is usable while every column that is needed is there and still means the same kind of value."""

from __future__ import annotations

import pytest

from shared.domain.columns import demanded, difference, faults

WANTED = {"distance": "double", "hour": "long", "carrier": "string", "late": ""}
FOUND = {"distance": "double", "hour": "long", "carrier": "string", "late": "boolean"}


def test_what_a_model_and_its_rules_need_is_demanded() -> None:
    card = [{"name": "distance", "type": "double"}, {"name": "carrier", "type": "string"}]

    assert demanded(card, "late", "carrier", "") == {"late": "", "carrier": "string", "distance": "double"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ()),
        ({"hour": "double"}, ()),  # an hour that is not known in some row
        ({"distance": "long"}, ()),
        ({"carrier": "null"}, ()),  # a blob in which nobody knows the carrier
        ({"tailnum": "string"}, ()),
        ({"distance": "string"}, ("distance is string, was double",)),
        ({"carrier": "long"}, ("carrier is long, was string",)),
        ({"hour": "boolean"}, ("hour is boolean, was long",)),
    ],
)
def test_a_column_may_be_added_but_not_become_another(changes: dict[str, str], told: tuple[str, ...]) -> None:
    assert faults(WANTED, FOUND | changes) == told


def test_a_column_that_was_renamed_is_missing_and_new() -> None:
    renamed = {("distanse" if name == "distance" else name): type_ for name, type_ in FOUND.items()}

    assert faults(WANTED, renamed) == ("distance (double) is missing",)
    assert difference(WANTED, renamed) == "distance (double) is missing; distanse (double) is new"


def test_a_label_that_is_gone_is_told_whatever_its_type_was() -> None:
    assert faults(WANTED, {k: v for k, v in FOUND.items() if k != "late"}) == ("late is missing",)


def test_a_difference_of_many_columns_stays_readable() -> None:
    told = difference({f"c{n}": "long" for n in range(500)}, {})

    assert told.endswith("and 480 more") and len(told) < 1000
