from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.estate import Estate, estate
from tests.node.jobs import Bench, some_model

_numbers = itertools.count()


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    folder: Path = tmp_path_factory.mktemp("machine")
    with estate(folder) as made:
        yield made


@pytest.fixture(scope="session")
def model() -> Any:
    return some_model()


@pytest.fixture(scope="session")
def new_bench(machine: Estate) -> Callable[[], Bench]:
    return lambda: Bench(machine, f"r{next(_numbers):03d}")


@pytest.fixture
def bench(new_bench: Callable[[], Bench]) -> Bench:
    return new_bench()
