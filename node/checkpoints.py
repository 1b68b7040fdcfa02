"""A trial's checkpoints, kept outside the machine, so that another machine carries on where this one was taken away.

Every file of the folder is a blob of its own under the same name. Names that begin with "." or end in ".tmp" stay here:
a program writes under such a name and renames, so that a file is whole from the moment it has its name.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from node.errors import NodeError
from node.fields import is_safe_name
from node.plain_files import open_plain
from node.storage import Store
from node.ticker import Ticker

logger = logging.getLogger(__name__)
EVERY_S = 10.0
MAX_FILES, MAX_BYTES = 1_000, 8 * 1024**3

_Mark = tuple[int, int, int]  # a file's inode, size and moment of change: the same mark, the same content


class Mirror:
    """Keeps `folder` and the blobs under `prefix` alike. Within the block a thread does so every 10 s, and at its end."""

    def __init__(self, store: Store, container: str, prefix: str, folder: Path) -> None:
        self._store, self._container, self._prefix, self._folder = store, container, prefix, folder
        self._there: dict[str, _Mark] = {}
        self._ticker = Ticker("checkpoints", EVERY_S, self._mirror)

    def restore(self) -> int:
        """Fetch what an earlier try left, into the empty folder; how many files. Raises what storage says."""
        names = self._store.names(self._container, self._prefix)
        for blob in names:
            name = blob.removeprefix(self._prefix)
            if not is_safe_name(name):
                continue
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._store.fetch(self._container, blob, path)
            self._there[name] = _mark(path.lstat())
        return len(names)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.stop()
        self._mirror()

    def _mirror(self) -> None:
        """A checkpoint that cannot be stored costs time after a preemption, never the trial."""
        try:
            self._once()
        except (NodeError, OSError) as error:
            logger.warning("checkpoint not stored: %s", error)

    def _once(self) -> None:
        """Upload what is new or changed, remove what is gone."""
        found, budget = dict[str, _Mark](), MAX_BYTES
        for name, parent, file in _files(self._folder):
            with suppress(FileNotFoundError):
                seen = os.stat(file, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISREG(seen.st_mode):
                    continue
                mark = _mark(seen)
                budget -= mark[1]
                if len(found) >= MAX_FILES or budget < 0:
                    logger.warning("checkpoints are more than %d files or %d bytes", MAX_FILES, MAX_BYTES)
                    return
                if self._there.get(name) != mark:
                    self._upload(name, parent, file, mark)
                found[name] = mark
        for gone in set(self._there) - set(found):
            self._store.remove(self._container, self._prefix + gone)
            del self._there[gone]

    def _upload(self, name: str, parent: int, file: str, mark: _Mark) -> None:
        with open_plain(file, parent) as stream:
            if _mark(os.fstat(stream.fileno())) != mark:
                return  # renamed over in between: the next round has it
            self._store.replace_file(self._container, self._prefix + name, stream)
            self._there[name] = mark


def _files(top: Path) -> Iterator[tuple[str, int, str]]:
    """(name under `top`, its folder's descriptor, its name there) of each finished file, while it is asked for."""
    for folder, folders, files, number in os.fwalk(top, follow_symlinks=False):
        folders.sort()
        for file in sorted(files):
            name = (Path(folder) / file).relative_to(top).as_posix()
            passing = any(step.startswith(".") for step in name.split("/")) or file.endswith(".tmp")
            if not passing and is_safe_name(name):
                yield name, number, file


def _mark(found: os.stat_result) -> _Mark:
    return found.st_ino, found.st_size, found.st_mtime_ns
