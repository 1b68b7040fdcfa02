"""Whether this Python has what requirements.txt pins: `python3 ensure.py requirements.txt`, exit code 0 or 1.

Runs on whatever python3 a machine has, from 3.7 on, with the standard library alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

OLDEST = (3, 13)
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)")


def pins(lines: Iterable[str]) -> list[tuple[str, str]]:
    """`["numpy==2.5.5  # why"] -> [("numpy", "2.5.5")]`. Raises ValueError at a line that is no exact pin."""
    found = []
    for line in lines:
        text = line.split("#")[0].strip()
        if not text:
            continue
        match = _PIN.fullmatch(text)
        if match is None:
            raise ValueError(f"not an exact pin: {text}")
        found.append((match.group(1), match.group(2)))
    return found


def lacking(wanted: list[tuple[str, str]]) -> list[str]:
    """What is missing or of another version, as `name wanted (found)`."""
    from importlib import metadata  # not there before 3.8, which is told apart first

    lacks = []
    for name, version in wanted:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found != version:
            lacks.append(f"{name} {version} ({found})")
    return lacks


def main(path: str) -> int:
    if sys.version_info[:2] < OLDEST:
        sys.stderr.write(f"python {sys.version.split()[0]} is too old: {OLDEST[0]}.{OLDEST[1]} is needed\n")
        return 1
    with open(path, encoding="utf-8") as file:
        lacks = lacking(pins(file))
    for lack in lacks:
        sys.stderr.write(f"lacks {lack}\n")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
