"""Files that somebody else's code made: opened as what they should be, or not at all.

Whoever made them may still be at work, or have laid a trap: a link to what only we may read, a pipe without an end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO


def read_plain(folder: Path, name: str, most: int) -> bytes:
    """What is under `name` in `folder`; of a file of more than `most` bytes, `most` + 1. Raises OSError."""
    place = open_folder(folder)
    try:
        with open_plain(name, place) as file:
            return file.read(most + 1)
    finally:
        os.close(place)


def open_folder(path: Path) -> int:
    """Its descriptor, which the caller closes. A link is not followed. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def open_plain(name: str | Path, folder: int | None = None) -> IO[bytes]:
    """No link is followed and nothing is opened that would wait or act. `folder` is a descriptor. Raises OSError."""
    number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"{Path(name).name} is no plain file")
    return os.fdopen(number, "rb")
