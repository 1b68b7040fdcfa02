"""An audit chain that was touched does not verify."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audit import GENESIS, AuditEntry, digest, seal, verify_chain


def chain(length: int) -> list[bytes]:
    records, prev = [], GENESIS
    for seq in range(1, length + 1):
        entry = AuditEntry(
            chain="run",
            seq=seq,
            prev=prev,
            at=datetime(2026, 3, 1, tzinfo=UTC),
            who="timer",
            what=f"step {seq}",
            target="t",
        )
        records.append(seal(entry))
        prev = digest(records[-1])
    return records


def test_an_untouched_chain_verifies() -> None:
    assert verify_chain(chain(5)) == []


@given(st.integers(0, 3), st.data())
def test_flipping_any_byte_is_found(index: int, data: st.DataObject) -> None:
    """A flip in the last record is found by the head that the outcome keeps; elsewhere by the record after it."""
    records = chain(5)
    at = data.draw(st.integers(0, len(records[index]) - 1))
    touched = bytearray(records[index])
    touched[at] ^= 1
    before = digest(records[index])
    assert digest(bytes(touched)) != before
    records[index] = bytes(touched)
    assert verify_chain(records) != []


@given(st.integers(0, 3))
def test_dropping_or_swapping_records_is_found(index: int) -> None:
    records = chain(5)
    assert verify_chain(records[:index] + records[index + 1 :]) != []
    records[index], records[index + 1] = records[index + 1], records[index]
    assert verify_chain(records) != []


def test_the_same_entry_gives_the_same_bytes() -> None:
    assert chain(3) == chain(3)
