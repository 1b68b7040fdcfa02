"""What somebody else's code left in a folder is read as a plain file, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from node.plain_files import read_plain


def test_a_file_is_read_up_to_one_byte_more_than_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"12345")

    assert [read_plain(tmp_path, "left", most) for most in (9, 5, 3)] == [b"12345", b"12345", b"1234"]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.symlink("/etc/passwd", path),
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
        lambda path: None,
    ],
    ids=["a link", "a pipe", "a folder", "nothing"],
)
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "left")

    with pytest.raises(OSError):
        read_plain(tmp_path, "left", 1000)


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "left").write_bytes(b"not yours")
    os.symlink(tmp_path / "elsewhere", tmp_path / "out")

    with pytest.raises(NotADirectoryError):
        read_plain(tmp_path / "out", "left", 1000)
