"""A mutant: the product with one guard taken out, and the tests that must notice."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """`name` is the guard that is removed; `old` occurs once in `file` and becomes `new`; `tests` are pytest node ids.

    A test's parameters are written only where the other cases do not concern the guard.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Take the guard out of the copy at `root`. Raises Rotten if the list does not fit the product any more."""
        path = root / self.file
        path.write_text(self.mutated(path.read_text()))

    def mutated(self, source: str) -> str:
        if (found := source.count(self.old)) != 1:
            raise Rotten(f"{self.name}: its text is in {self.file} {found} times, expected once")
        changed = source.replace(self.old, self.new)
        if self.file.endswith(".py"):
            try:
                ast.parse(changed)
            except SyntaxError as error:
                raise Rotten(f"{self.name}: {self.file} does not parse without it: {error}") from None
        return changed


class Rotten(Exception):
    """A mutant that says nothing about the product as it is now: the list needs care."""
