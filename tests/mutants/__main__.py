"""Remove one guard at a time from a copy of the product and see a test turn red.

python -m tests.mutants [NAME ...] [--jobs N] [--list]

Exit code 1 if a guard survives its removal, if the list does not fit the product any more, or if the tests named here
are red with every guard in place.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.guards import MUTANTS
from tests.mutants.mutant import Mutant, Rotten
from tests.mutants.workshop import Verdict, copy_repository, run_tests


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    chosen = [m for m in MUTANTS if not options.names or m.name in options.names]
    if options.list:
        print("\n".join(f"{m.name:48} {m.file}" for m in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="muster-mutants-") as folder:
        place = Path(folder)
        if not _green_with_all_guards(place / "whole", chosen):
            return 1
        with ThreadPoolExecutor(options.jobs) as workers:
            caught = list(workers.map(lambda m: _report(m, place / m.name), chosen))
    print(f"{sum(caught)} of {len(chosen)} guards are missed when they are gone")
    return 0 if all(caught) else 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="guards to remove; all of them if none is named"
    )
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tested at the same time")
    parser.add_argument("--list", action="store_true", help="only say which guards there are")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - {m.name for m in MUTANTS}:
        parser.error(f"no guard is called {', '.join(sorted(unknown))}; --list names them")
    return options


def _green_with_all_guards(place: Path, mutants: Sequence[Mutant]) -> bool:
    """Without this a test that is always red would seem to catch everything."""
    # Folder by folder, as in `make test`: each has a simulated Azure of its own, and one process has one environment.
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    verdict = run_tests(copy_repository(place), tests, first_failure=False)
    print(
        f"{len(tests)} tests with every guard in place: exit code {verdict.exit_code}, {verdict.seconds:.0f} s"
    )
    if not verdict.is_green:
        print(verdict.said)
    return verdict.is_green


def _report(mutant: Mutant, place: Path) -> bool:
    try:
        mutant.apply(copy_repository(place))
    except (Rotten, FileNotFoundError) as error:
        print(f"ROTTEN    {error}", flush=True)
        return False
    verdict = run_tests(place, mutant.tests)
    what = "caught" if verdict.is_red else "SURVIVED"
    red = verdict.red[0] if verdict.is_red else _why_not(verdict)
    print(f"{what:9} {mutant.name:48} {mutant.file:30} {verdict.seconds:4.0f} s  {red}", flush=True)
    return verdict.is_red


def _why_not(verdict: Verdict) -> str:
    if verdict.exit_code is None:
        return "the tests did not end"
    if verdict.is_green:
        return "no test turned red"
    return f"no test ran to its end (exit code {verdict.exit_code}): {verdict.said[-400:]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
