"""Folders and detached processes of the `local` platform: what one worker began, the next one sees and ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.azure import arm
from shared.config import settings
from shared.domain.errors import DeniedError, PlatformError
from shared.platforms import local_keeper


def make_root(root: Path) -> None:
    """Raises DeniedError if the folder is another user's: in a shared temporary folder anybody may make one first."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root.stat().st_uid != os.getuid():
        raise DeniedError(f"{root} belongs to another user; set MUSTER_LOCAL_WORK", target=str(root))


def read(path: Path) -> Any | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def replace(path: Path, value: object) -> None:
    """Readers see the old content or the new one, never half."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(value))
    os.replace(fresh, path)


def keep(
    place: Path,
    command: Sequence[str],
    *,
    folder: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Start a command in `folder`, detached, unless `place` had one already. Raises PlatformError."""
    place.mkdir(parents=True, exist_ok=True)
    keeper = [sys.executable, "-I", local_keeper.__file__, str(place), str(timeout_s), "--"]
    begun = subprocess.run(
        [*keeper, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if begun.returncode:
        raise PlatformError(f"{place.name} could not be started: {begun.stderr[-500:]}", code="NotStarted")


def is_alive(process: Mapping[str, Any]) -> bool:
    return bool(local_keeper.started(process["pid"]) == process["started"])


def is_running(place: Path) -> bool:
    process = read(place / "process.json")
    return process is not None and is_alive(process)


def send(place: Path, number: signal.Signals) -> None:
    """To the whole process group of what runs in `place`, if it is still the one that was written down."""
    process = read(place / "process.json")
    if process and is_alive(process):
        with suppress(ProcessLookupError):
            os.killpg(process["pid"], number)


def remove(folder: Path, running: str) -> None:
    """Kill what runs in the places that match `running`, then take the folder away. Safe to repeat."""
    for path in folder.glob(f"{running}/process.json"):
        send(path.parent, signal.SIGKILL)
    aside = folder.with_name(f".{folder.name}-{os.getpid()}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    for _ in range(2):  # a process that is being killed may still write a file behind the first pass
        shutil.rmtree(aside, ignore_errors=True)


def identity() -> str | None:
    """What runs here is the app: its managed identity where there is one, else the developer's sign-in."""
    return settings().client_id if os.environ.get("IDENTITY_ENDPOINT") else None


def now() -> datetime:
    """Azure's time where there is an Azure to ask: deadlines come from a clock that need not be this machine's."""
    return arm.now() if os.environ.get("IDENTITY_ENDPOINT") else datetime.now(UTC)
