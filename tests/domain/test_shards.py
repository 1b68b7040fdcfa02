"""Every input is in exactly one shard, every shard in exactly one batch, the same each time."""

from __future__ import annotations

import hashlib
import random
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.shards import InputItem, Shard, plan_batches, plan_shards


def item(blob: str, size: int = 1, etag: str = "0x1", container: str = "landing") -> InputItem:
    return InputItem(container=container, blob=blob, etag=etag, size=size)


def plan(items: list[InputItem], max_shards: int = 4, model: str = "m", code: str = "") -> tuple[Shard, ...]:
    return plan_shards(items, max_shards=max_shards, model_digest=model, code_digest=code)


SIZES = st.one_of(st.integers(0, 5), st.integers(0, 10**12))
ITEMS = st.lists(
    st.builds(item, st.text(min_size=1, max_size=6), SIZES, st.sampled_from(["0x1", "0x2"])),
    max_size=60,
    unique_by=lambda each: each.blob,
)


@given(ITEMS, st.integers(1, 70))
def test_every_item_is_in_exactly_one_shard_in_the_order_of_names(items: list[InputItem], most: int) -> None:
    shards = plan(items, most)
    assert sorted(chain.from_iterable(s.items for s in shards), key=lambda i: i.blob) == sorted(
        items, key=lambda i: i.blob
    )
    assert len(shards) == min(most, len(items))
    assert all(shard.items for shard in shards)
    assert all([i.blob for i in s.items] == sorted(i.blob for i in s.items) for s in shards)
    assert [s.id for s in shards] == [f"{n:05d}" for n in range(len(shards))]


@given(ITEMS, st.integers(1, 20), st.randoms())
def test_the_order_of_the_listing_does_not_matter(
    items: list[InputItem], most: int, chance: random.Random
) -> None:
    shuffled = chance.sample(items, len(items))
    assert plan(shuffled, most) == plan(items, most)


@given(ITEMS, st.integers(1, 20))
def test_no_two_shards_differ_by_more_than_the_largest_item(items: list[InputItem], most: int) -> None:
    weights = [s.size + len(s.items) for s in plan(items, most)]
    if weights:
        assert max(weights) - min(weights) <= max(i.size + 1 for i in items)


@given(ITEMS, st.integers(1, 20), st.integers(1, 32))
def test_every_shard_is_in_exactly_one_batch(items: list[InputItem], most: int, machines: int) -> None:
    shards = plan(items, most)
    batches = plan_batches(shards, machines)
    assert sorted(chain.from_iterable(batches)) == [s.id for s in shards]
    assert len(batches) == min(machines, len(shards))
    assert all(batches)


def test_files_without_bytes_are_spread_too() -> None:
    assert [len(s.items) for s in plan([item(f"{n}") for n in range(7)], 3)] == [3, 2, 2]
    assert [len(s.items) for s in plan([item(f"{n}", size=0) for n in range(6)], 3)] == [2, 2, 2]


def test_batches_are_balanced_by_bytes_not_by_shards() -> None:
    shards = plan([item("a", 900), item("b", 300), item("c", 300), item("d", 300)], 4)
    assert plan_batches(shards, 2) == (("00000",), ("00001", "00002", "00003"))


def test_the_key_is_known_from_what_is_scored_by_what() -> None:
    (shard,) = plan([item("flights/a.parquet", etag="0x8D")], 1, model="aa", code="bb")
    text = "7:landing" + "17:flights/a.parquet" + "4:0x8D" + "|aa|bb"
    assert shard.key == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "other",
    [
        plan([item("a", etag="0x2"), item("b")], 1),
        plan([item("a"), item("b2")], 1),
        plan([item("a", container="other"), item("b", container="other")], 1),
        plan([item("a"), item("b"), item("c")], 1),
        plan([item("ab"), item("", etag="")], 1),
        plan([item("a"), item("b")], 1, model="m2"),
        plan([item("a"), item("b")], 1, code="c"),
    ],
)
def test_another_input_model_or_code_has_another_key(other: tuple[Shard, ...]) -> None:
    assert other[0].key != plan([item("a"), item("b")], 1)[0].key


def test_no_group_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan([item("a")], 0)


def test_a_shard_comes_back_from_json() -> None:
    (shard,) = plan([item("ä b", 3)], 1)
    assert Shard.model_validate_json(shard.model_dump_json()) == shard


def test_a_hundred_thousand_inputs_are_planned() -> None:
    items = [item(f"flights/{n:06d}.parquet", size=n % 977) for n in range(100_000)]
    shards = plan(items, 10_000)
    assert (len(shards), sum(len(s.items) for s in shards)) == (10_000, 100_000)
    assert max(s.size for s in shards) - min(s.size for s in shards) <= 976 + 10
