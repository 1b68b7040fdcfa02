"""Unpacking the user's zip: plain files of a sane size, inside their folder, or nothing."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from pathlib import Path

from node.errors import CodeLoadError, reason_of
from node.fields import is_safe_name

MAX_FILES, MAX_BYTES, MAX_RATIO = 2_000, 256 * 1024 * 1024, 100
_CHUNK = 1024 * 1024


def unpack(data: bytes, folder: Path) -> None:
    """Raises CodeLoadError at a path that leaves `folder`, a link, a bomb, or a broken zip; `folder` is then unusable."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _refuse_bombs(entries)
            _refuse_strangers(entries)
            for entry in entries:
                _unpack_one(archive, entry, folder)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise CodeLoadError(f"the code's zip cannot be unpacked: {reason_of(error)}") from error


def _refuse_bombs(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_FILES:
        raise CodeLoadError(f"the code's zip has {len(entries)} files, more than {MAX_FILES}")
    if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        raise CodeLoadError(f"the code's zip unpacks to {total} bytes, more than {MAX_BYTES}")
    for entry in entries:
        if entry.file_size > _CHUNK and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
            raise CodeLoadError(
                f"the code's zip: {entry.filename!r} is compressed more than {MAX_RATIO} times"
            )


def _refuse_strangers(entries: list[zipfile.ZipInfo]) -> None:
    for entry in entries:
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise CodeLoadError(f"the code's zip: {entry.filename!r} is no plain file")
        # orig_filename: zipfile cuts a name at a NUL, so that `filename` may look harmless
        if not (is_safe_name(entry.filename) and is_safe_name(entry.orig_filename)):
            raise CodeLoadError(f"the code's zip: {entry.orig_filename!r} would leave its folder")
    if len({entry.filename for entry in entries}) != len(entries):
        raise CodeLoadError("the code's zip has a file twice")


def _unpack_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size  # what was checked: an entry that holds more than it says ends here
    with archive.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise CodeLoadError(f"the code's zip: {entry.filename!r} is larger than it says")
            file.write(chunk)
