"""What workers have in hand, on record for the case that the hub dies with them.

An activity's deliveries are counted in the hub's file before it goes out. Turns are too many and too short for a
transaction each; they are noted in a file beside it, by plain writes that outlive the process.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

Subject = int | str  # an instance's key, an entity's id

_COMPACT_BYTES = 16_000


class InHand:
    """What workers hold at this moment, as lines `+subject` and `-subject` in a file; nothing for None.

    Survives the death of the process, not that of the machine: a count that is too low costs one more try. So does
    a line that could not be written, or not whole, because the disk is full: work goes on without it.
    """

    def __init__(self, path: Path | None) -> None:
        self._held: set[Subject] = set()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600) if path else None
        self._size = 0
        self._failing = False

    def take_over(self) -> list[Subject]:
        """What an earlier process held when it died; now forgotten here."""
        if self._file is None:
            return []
        held: dict[Subject, None] = {}
        lines = os.pread(self._file, os.fstat(self._file).st_size, 0).split(b"\n")
        for line in lines[:-1]:  # the last one is empty, or was cut off by the death
            try:
                subject = json.loads(line[1:])
            except ValueError:
                continue  # cut off by a full disk, with the next one behind it
            if line[:1] == b"+":
                held[subject] = None
            else:
                held.pop(subject, None)
        os.ftruncate(self._file, 0)
        return list(held)

    def add(self, subject: Subject) -> None:
        self._held.add(subject)
        self._write(b"+", subject)

    def remove(self, subject: Subject) -> None:
        self._held.discard(subject)
        self._write(b"-", subject)

    def close(self) -> None:
        """Write nothing more. What is still in hand stays on record, as after a death."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, sign: bytes, subject: Subject) -> None:
        if self._file is None:
            return
        try:
            if self._size > _COMPACT_BYTES:
                os.ftruncate(self._file, 0)
                lines = b"".join(b"+%s\n" % json.dumps(held).encode() for held in self._held)
                self._size = os.write(self._file, lines)
            else:
                self._size += os.write(self._file, b"%s%s\n" % (sign, json.dumps(subject).encode()))
            self._failing = False
        except OSError as error:
            if not self._failing:
                logger.warning("what is in hand is not on record", extra={"reason": str(error)})
            self._failing = True
