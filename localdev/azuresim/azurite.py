"""Azurite as a child process: Blob, Queue and Table storage of the simulated account, over TLS on free ports."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import hashlib
import os
import re
import signal
import subprocess
from pathlib import Path

from localdev.azuresim.certificates import STORAGE_SERVICES, Certificates
from localdev.azuresim.estate import STORAGE_ACCOUNT

# The key is no secret: it is good for a server on loopback only.
ACCOUNT_KEY = base64.b64encode(hashlib.sha512(b"azuresim " + STORAGE_ACCOUNT.encode()).digest()).decode()

_PROGRAM = Path(__file__).parents[1] / "azurite" / "node_modules" / ".bin" / "azurite"
_LISTENING = re.compile(
    rb"Azurite (Blob|Queue|Table) service is successfully listening at https://127\.0\.0\.1:(\d+)"
)
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 5
_PR_SET_PDEATHSIG = 1


class AzuriteFailed(RuntimeError):
    """Azurite did not start; carries what it printed."""


class Azurite:
    """Started and stopped on the simulator's event loop. `ports` maps blob, queue and table."""

    def __init__(self, folder: Path, certificates: Certificates, *, in_memory: bool) -> None:
        self._folder, self._certificates, self._in_memory = folder, certificates, in_memory
        self._process: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Return once all three services listen. Raises AzuriteFailed."""
        if not _PROGRAM.exists():
            raise AzuriteFailed(f"Azurite is not installed in {_PROGRAM.parents[2]}: run `make setup`")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(_PROGRAM.resolve()),
            *self._arguments(),
            env={**os.environ, "AZURITE_ACCOUNTS": f"{STORAGE_ACCOUNT}:{ACCOUNT_KEY}"},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        printed = bytearray()
        try:
            await asyncio.wait_for(self._read_ports(printed), _START_TIMEOUT_S)
        except (TimeoutError, EOFError) as error:
            await self.stop()
            raise AzuriteFailed(printed.decode(errors="replace")[-4000:]) from error
        self._drain = asyncio.create_task(self._discard_output())

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._drain:
            self._drain.cancel()

    def _arguments(self) -> list[str]:
        services = [f"--{service}{what}" for service in STORAGE_SERVICES for what in ("Host", "Port")]
        values = ["127.0.0.1", "0"] * len(STORAGE_SERVICES)
        return [
            *(word for pair in zip(services, values, strict=True) for word in pair),
            *("--cert", str(self._certificates.chain), "--key", str(self._certificates.key)),
            *("--oauth", "basic", "--skipApiVersionCheck", "--disableTelemetry", "--silent"),
            *(["--inMemoryPersistence"] if self._in_memory else ["--location", str(self._folder)]),
        ]

    async def _read_ports(self, printed: bytearray) -> None:
        assert self._process is not None and self._process.stdout is not None
        while set(self.ports) != set(STORAGE_SERVICES):
            line = await self._process.stdout.readline()
            if not line:
                raise EOFError
            printed += line
            if found := _LISTENING.search(line):
                self.ports[found[1].decode().lower()] = int(found[2])

    async def _discard_output(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while await self._process.stdout.readline():
            pass


def die_with_parent() -> None:
    """For `preexec_fn`: the child is killed when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
