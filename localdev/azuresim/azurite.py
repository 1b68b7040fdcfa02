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

_FOLDER = Path(__file__).parents[1] / "azurite"
_PROGRAM = _FOLDER / "node_modules" / ".bin" / "azurite"
_JOURNAL = _FOLDER / "journal.js"
_LISTENING = re.compile(
    r"Azurite (Blob|Queue|Table) service is successfully listening at https://127\.0\.0\.1:(\d+)"
)
_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 5
_LOOK_S = 0.05
_KEEP_ALIVE_S = (
    240  # learn.microsoft.com azure/load-balancer/load-balancer-tcp-idle-timeout: four minutes by default
)
_PR_SET_PDEATHSIG = 1


class AzuriteFailed(RuntimeError):
    """Azurite did not start; carries what it printed."""


class Azurite:
    """Started and stopped on the simulator's event loop. `ports` maps blob, queue and table."""

    def __init__(self, folder: Path, certificates: Certificates, *, in_memory: bool) -> None:
        self._folder, self._certificates, self._in_memory = folder, certificates, in_memory
        self._process: asyncio.subprocess.Process | None = None
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Return once all three services listen. Raises AzuriteFailed."""
        if not _PROGRAM.exists():
            raise AzuriteFailed(f"Azurite is not installed in {_PROGRAM.parents[2]}: run `make setup`")
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._outlive_predecessor()
        # A file, not a pipe: an Azurite whose reader died would break before it has saved.
        log = self._folder / "azurite.log"
        with log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                "node",
                *([] if self._in_memory else ["--require", str(_JOURNAL)]),
                str(_PROGRAM.resolve()),
                *self._arguments(),
                env={**os.environ, "AZURITE_ACCOUNTS": f"{STORAGE_ACCOUNT}:{ACCOUNT_KEY}"},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # It saves its tables every five seconds and at SIGTERM; in memory there is nothing to save.
                preexec_fn=die_with_parent if self._in_memory else _end_with_parent,
            )
        self._pid_file.write_text(str(self._process.pid))
        try:
            await asyncio.wait_for(self._read_ports(log), _START_TIMEOUT_S)
        except (TimeoutError, EOFError) as error:
            await self.stop()
            raise AzuriteFailed(log.read_text(errors="replace")[-4000:]) from error

    @property
    def _pid_file(self) -> Path:
        return self._folder / "azurite.pid"

    async def _outlive_predecessor(self) -> None:
        """A simulator that was killed leaves an Azurite that is still saving: two must not have one folder."""
        if not self._pid_file.exists():
            return
        command = Path(f"/proc/{self._pid_file.read_text()}/cmdline")
        for _ in range(int(_STOP_TIMEOUT_S / _LOOK_S)):
            try:
                if str(self._folder).encode() not in command.read_bytes():
                    return
            except FileNotFoundError:
                return
            await asyncio.sleep(_LOOK_S)
        raise AzuriteFailed(f"another Azurite, process {command.parent.name}, works in {self._folder}")

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

    def _arguments(self) -> list[str]:
        services = [f"--{service}{what}" for service in STORAGE_SERVICES for what in ("Host", "Port")]
        values = ["127.0.0.1", "0"] * len(STORAGE_SERVICES)
        return [
            *(word for pair in zip(services, values, strict=True) for word in pair),
            *("--cert", str(self._certificates.chain), "--key", str(self._certificates.key)),
            *("--oauth", "basic", "--skipApiVersionCheck", "--disableTelemetry", "--silent"),
            # Its own five seconds often end in the moment in which a client asks again on the idle connection.
            *("--blobKeepAliveTimeout", str(_KEEP_ALIVE_S)),
            *(["--inMemoryPersistence"] if self._in_memory else ["--location", str(self._folder)]),
        ]

    async def _read_ports(self, log: Path) -> None:
        assert self._process is not None
        while set(self.ports) != set(STORAGE_SERVICES):
            if self._process.returncode is not None:
                raise EOFError
            await asyncio.sleep(_LOOK_S)
            found = _LISTENING.findall(log.read_text(errors="replace"))
            self.ports = {service.lower(): int(port) for service, port in found}


def die_with_parent() -> None:
    """For `preexec_fn`: the child is killed when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
