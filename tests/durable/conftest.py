from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.durable.night import Night
from tests.durable.stage import Stage, stage


@pytest.fixture
def night() -> Night:
    return Night()


@pytest.fixture
def azure(night: Night) -> Iterator[Stage]:
    with stage(night) as made:
        yield made
