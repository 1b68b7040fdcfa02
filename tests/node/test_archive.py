"""The user's zip: slips, links and bombs are refused before anything is written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from node.archive import MAX_FILES, unpack
from node.errors import CodeLoadError
from tests.node.jobs import zipped


def _entry(name: str, mode: int, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, mode << 16
        archive.writestr(entry, data)
    return buffer.getvalue()


def _bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20 * 1024 * 1024))
    return buffer.getvalue()


def _liar() -> bytes:
    """A deflated entry that says it has 10 bytes, and has a million."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("score.py", bytes(1_000_000))
    data = buffer.getvalue()
    return data.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 10))


def _cut_at_nul() -> bytes:
    data = zipped([("x.py\x01/../../y", "1")])
    return data.replace(b"x.py\x01", b"x.py\x00")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zipped([("../out.py", "1")]), "would leave its folder"),
        (zipped([("a/../../out.py", "1")]), "would leave its folder"),
        (zipped([("/out.py", "1")]), "would leave its folder"),
        (zipped([("..\\out.py", "1")]), "would leave its folder"),
        (zipped([("%2e%2e/out.py", "1")]), "would leave its folder"),
        (_cut_at_nul(), "would leave its folder"),
        (_entry("link", stat.S_IFLNK | 0o777, b"/etc/passwd"), "no plain file"),
        (_entry("pipe", stat.S_IFIFO | 0o600, b""), "no plain file"),
        (_bomb(), "compressed more than"),
        (_liar(), "cannot be unpacked|larger than it says"),
        (zipped([(f"{n}", "") for n in range(MAX_FILES + 1)]), "more than"),
        (b"no zip", "cannot be unpacked"),
    ],
)
def test_a_hostile_zip_is_refused_and_leaves_nothing_outside(tmp_path: Path, data: bytes, said: str) -> None:
    folder = tmp_path / "deep" / "code"
    folder.mkdir(parents=True)

    with pytest.raises(CodeLoadError, match=said):
        unpack(data, folder)

    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(folder) and path.stat().st_size <= 10 for path in found)


def test_an_honest_zip_is_unpacked_with_its_folders(tmp_path: Path) -> None:
    unpack(zipped([("score.py", "a = 1"), ("lib/help.py", "b = 2")]), tmp_path)

    assert (tmp_path / "lib" / "help.py").read_text() == "b = 2"
