"""The list of guards fits the product as it is; that each is missed when it is gone, `make mutants` shows."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.mutants.guards import MUTANTS
from tests.mutants.mutant import ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_guard_is_where_the_list_says_and_so_are_its_tests(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    assert mutant.mutated(source) != source
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert not name or name.rpartition("::")[2].partition("[")[0] in _tests_of(file), test


def test_no_two_mutants_share_a_name() -> None:
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)


@cache
def _tests_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
