"""What crosses the durable boundary: small, whole, and never silence taken for success."""

from __future__ import annotations

import pytest

from shared.domain.errors import TransientError
from shared.domain.lease import Machine, MachineState, Operation
from shared.durable import wire
from shared.durable.contracts import Nothing

LIMIT = wire.MAX_PAYLOAD_BYTES


def _of(size: int) -> Machine:
    """A value that is `size` bytes on the wire."""
    empty = len(Machine(state=MachineState.READY).model_dump_json())
    return Machine(state=MachineState.READY, message="x" * (size - empty))


def test_data_does_not_go_through_the_history() -> None:
    assert wire.to_wire(_of(LIMIT))

    with pytest.raises(wire.PayloadTooLarge, match=f"{LIMIT + 1} bytes"):
        wire.to_wire(_of(LIMIT + 1))


def test_an_answer_is_held_to_the_same_limit() -> None:
    with pytest.raises(wire.PayloadTooLarge):
        wire.answer(_of(LIMIT + 1))


@pytest.mark.parametrize("said", [None, "", [], {}, {"status": "done"}])
def test_no_answer_is_not_taken_for_success(said: object) -> None:
    with pytest.raises(wire.MissingAnswer):
        wire.read_answer(Nothing, said, "close_lease")


def test_a_failure_is_raised_again_as_what_it_was() -> None:
    with pytest.raises(TransientError) as raised:
        wire.read_answer(Operation, wire.failure(TransientError("429", retry_after_s=7.0)), "begin_release")

    assert raised.value.retry_after_s == 7.0
