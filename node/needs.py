"""Packages that one kind of job needs and others do not: found in this Python, or put into a folder of their own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from node.ensure import lacking, pins
from node.errors import NodeError

_TIMEOUT_S = 900
_SAID = 300  # characters of what the installer said


def provide(requirements: Path) -> Path | None:
    """A folder for PYTHONPATH with what `requirements` pins; None where this Python has it all.

    Made once on a machine, whole or not at all. Raises NodeError if it cannot be made.
    """
    text = requirements.read_text(encoding="utf-8")
    if not lacking(pins(text.splitlines())):
        return None
    base = Path.home() / ".muster"
    base.mkdir(parents=True, exist_ok=True)
    folder = base / f"{requirements.stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two jobs on one machine must not build it at once
        if not folder.is_dir():
            _install(requirements, folder, base)
    return folder


def _install(requirements: Path, folder: Path, base: Path) -> None:
    fresh = Path(tempfile.mkdtemp(dir=base))
    try:
        command = [*_installer(base), "--quiet", "--no-deps", "--target", str(fresh), "-r", str(requirements)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        if ran.returncode != 0:
            raise NodeError(f"{requirements.name} cannot be installed: {ran.stderr.strip()[-_SAID:]}")
        os.rename(fresh, folder)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{requirements.name} cannot be installed: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _installer(base: Path) -> list[str]:
    """uv where the bootstrap put it, which is where this Python has no pip; else pip."""
    uv = base / "uv" / "bin" / "uv"
    return (
        [str(uv), "pip", "install", "--python", sys.executable]
        if uv.is_file()
        else [sys.executable, "-m", "pip", "install"]
    )
