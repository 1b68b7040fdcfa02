"""No text is a bomb: what cannot be a declaration is refused before anything is built from it."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.document import MAX_BYTES, MAX_DEPTH, dotted, read_document

KB256 = MAX_BYTES - 16


def billion_laughs() -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)


BOMBS = {
    "10 MB": ("a: " + "x" * 10_000_000, "too long"),
    "10 MB of two-byte letters": ("a: " + "é" * 200_000, "too long"),
    "aliases": (billion_laughs(), "alias"),
    "an alias to itself": ("a: &a [*a]", "alias"),
    "a merge": ("a: &a {b: 1}\nc: {<<: *a}", "alias"),
    "brackets": ("[" * KB256, "nested too deeply"),
    "braces": ("{a: " * (KB256 // 4), "nested too deeply"),
    "dashes": ("- " * (KB256 // 2), "nested too deeply"),
    "question marks": ("? " * (KB256 // 2), "key that is not text"),
    "many items": ("- a\n" * (KB256 // 4), "too many values"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(20_000)), "too many values"),
    "a Python object": ("!!python/object/apply:os.system ['true']", "has a tag"),
    "a tagged value": ("a: !!binary aGk=", "has a tag"),
    "two documents": ("a: 1\n---\nb: 2\n", "second document"),
    "a NUL": ("a: \0", "not YAML"),
    "half a character": ("a: \ud800", "not UTF-8"),
    "an unfinished quote": ('a: "' + "x" * KB256, "not YAML"),
    "a tab": ("a:\n\tb: 1", "not YAML"),
    "nothing": ("", "is empty"),
    "comments": ("# only\n# comments\n", "is empty"),
    "directives": ("".join(f"%TAG !a{n}! tag:x\n" for n in range(12_000)), "has a directive"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_without_being_built(bomb: str) -> None:
    text, says = BOMBS[bomb]
    tracemalloc.start()
    document = read_document(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert document.data is None
    assert says in document.faults[-1].message
    assert peak < 10_000_000


def test_nesting_up_to_the_limit_is_read() -> None:
    assert read_document("[" * MAX_DEPTH + "]" * MAX_DEPTH).faults == ()


def test_plain_words_stay_words() -> None:
    text = "{a: no, b: on, c: 1:30, d: 2026-03-01, e: 0x1F, f: 1_0, h: .inf, i: 1e3, j: '1', k: 9999999999999999999}"
    assert read_document(text).data == {
        "a": "no", "b": "on", "c": "1:30", "d": "2026-03-01", "e": "0x1F", "f": "1_0", "h": ".inf",
        "i": "1e3", "j": "1", "k": "9999999999999999999",
    }  # fmt: skip


def test_numbers_truth_and_nothing_are_read() -> None:
    text = "[1, -2, 1.5, 1.5e3, true, False, null, ~, ]"
    assert read_document(text).data == [1, -2, 1.5, 1500.0, True, False, None, None]


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert read_document("\ufeffkind: x").data == {"kind": "x"}


def test_every_value_remembers_where_it_stood() -> None:
    document = read_document("a:\n  - x\n  - {b: 1}\n")
    assert document.mark(("a", 1, "b")) == (3, 9)
    assert document.mark(("a", 1, "b"), of_key=True) == (3, 6)
    assert document.mark(("a", 1, "missing")) == (3, 5)
    assert document.mark(("missing",)) == (1, 1)
    assert dotted(("a", 1, "b")) == "a[1].b"


def test_a_key_given_twice_keeps_its_first_value_and_is_told() -> None:
    document = read_document("a: 1\nb: 2\na: 3\n")
    assert document.data == {"a": 1, "b": 2}
    assert [(f.path, f.line) for f in document.faults] == [("a", 3)]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    document = read_document(text)
    assert document.faults or document.data is not None or text.strip()
