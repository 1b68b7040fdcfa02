"""The user's own machine: the same agent and the same job as a detached child process. Costs nothing.

A lease is a folder, a job a folder in it. Everything is on disk, so that a restarted app, or another process, sees and
ends what an earlier one began. For Linux and macOS.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from node import package
from shared.azure import blob
from shared.azure.agent import reference as reference_of
from shared.azure.vm_estate import is_ours, is_still_owned
from shared.config import settings
from shared.domain import names
from shared.domain.errors import ConflictError, LeaseLost, PlatformError
from shared.domain.jobs import BlobRef, JobLook, JobRequest, JobState
from shared.domain.lease import TAG_APP, Inventory, Lease, Machine, MachineState, Operation, OwnedResource
from shared.domain.offers import Headroom, Offer
from shared.platforms import local_files, local_keeper
from shared.platforms.base import Platform
from shared.platforms.local_server import LocalServer

TYPE = "Local/machines"
POLL_S = 2.0
_RELEASED = "released"
_JOBS = "jobs/*"
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


class Local:
    """Provisioner and JobRunner of the `local` platform."""

    def check_headroom(self, offers: Sequence[Offer], nodes: int) -> tuple[Headroom, ...]:
        """This machine is always there; sizes, regions and prices mean nothing here."""
        cores = os.cpu_count() or 1
        here = Offer(size="this-machine", region="local", vcpus=max(1, cores // nodes))
        return tuple(Headroom(offer=offer, available=True, limit=cores) for offer in offers or (here,))

    def begin_provision(self, lease: Lease) -> Operation:
        """Make the lease's folder. Raises ConflictError if it is another lease's."""
        local_files.make_root(_root())
        folder = _folder(lease)
        folder.mkdir(exist_ok=True, mode=0o700)
        local_keeper.write_once(folder / "machine.json", lease.tags(settings().app))
        if not is_ours(_tags(folder), lease, settings().app):
            raise ConflictError(
                f"{folder} is another lease's; it was left alone", code="NotOurs", target=str(folder)
            )
        return Operation(poll_after_s=0.0)

    def observe_machine(self, lease: Lease) -> Machine:
        folder = _folder(lease)
        if not is_ours(_tags(folder), lease, settings().app):
            return Machine(state=MachineState.ABSENT, poll_after_s=POLL_S)
        released = (folder / _RELEASED).exists() and not _running(folder)
        return Machine(
            state=MachineState.DEALLOCATED if released else MachineState.READY, poll_after_s=POLL_S
        )

    def begin_release(self, lease: Lease) -> Operation | None:
        """Kill what runs under the lease. None if it is gone or nothing runs any more."""
        folder = self._own(lease)
        if folder is None or self.observe_machine(lease).state is MachineState.DEALLOCATED:
            return None
        (folder / _RELEASED).touch()
        _kill(folder)
        return Operation(poll_after_s=POLL_S)

    def begin_delete(self, lease: Lease) -> Operation | None:
        folder = self._own(lease)
        if folder is None:
            return None
        _remove(folder)
        return Operation(poll_after_s=POLL_S)

    def list_remains(self, lease: Lease) -> tuple[OwnedResource, ...]:
        folder = _folder(lease)
        return (_resource(folder),) if is_ours(_tags(folder), lease, settings().app) else ()

    def list_owned(self) -> Inventory:
        owned = tuple(_resource(f) for f in _folders() if _tags(f).get(TAG_APP) == settings().app)
        return Inventory(resources=owned, now=local_files.now())

    def begin_removal(self, resource: OwnedResource) -> None:
        folder = _root() / resource.name
        if not folder.exists():
            return
        if not is_still_owned(resource, _tags(folder), settings().app):
            raise ConflictError(f"{folder} is another lease's by now; it was left alone", code="NotOurs")
        _remove(folder)

    def submit_job(self, lease: Lease, job: JobRequest) -> Operation:
        """Unpack the agent and start it, detached. Raises LeaseLost if the lease's folder is gone or released."""
        folder = self._own(lease)
        if folder is None or (folder / _RELEASED).exists():
            raise LeaseLost(
                f"the local machine of lease {lease.id} is gone before job {job.id} began", lease=lease.id
            )
        agent = _unpack(folder, job.agent)
        reference = package.job_reference(
            settings().storage_account_url, reference_of(job.job), local_files.identity()
        )
        place = _job(folder, job.id)
        command = [sys.executable, "-m", "node.agent", reference]
        local_files.keep(place, command, folder=agent, timeout_s=job.timeout_s)
        return Operation(poll_after_s=POLL_S)

    def observe_job(self, lease: Lease, job_id: str) -> JobLook:
        folder = _folder(lease)
        place = _job(folder, job_id)
        if not is_ours(_tags(folder), lease, settings().app) or (folder / _RELEASED).exists():
            return JobLook(state=JobState.ABSENT, machine_lost=True, message="the machine is released")
        process = local_files.read(place / "process.json")
        if process is None:
            return JobLook(state=JobState.ABSENT, poll_after_s=POLL_S)
        alive = local_files.is_alive(
            process
        )  # asked before the exit is looked for: it may be written in between
        ended = local_files.read(place / "exit.json")
        if ended is None and alive:
            return JobLook(state=JobState.RUNNING, poll_after_s=POLL_S)
        if ended is None:
            return JobLook(
                state=JobState.ABSENT, machine_lost=True, message="its process is gone without a word"
            )
        return _ended(ended, place)

    def cancel_job(self, lease: Lease, job_id: str) -> None:
        """Ask the agent to stop; it writes down how far it came. Releasing the lease is what surely stops it."""
        place = _job(_folder(lease), job_id)
        if place.exists():
            (place / local_keeper.CANCELED).touch()
        local_files.send(place, signal.SIGTERM)

    def _own(self, lease: Lease) -> Path | None:
        """The lease's folder, None if there is none. Raises ConflictError if it is another lease's."""
        folder = _folder(lease)
        tags = _tags(folder)
        if not tags:
            return None
        if not is_ours(tags, lease, settings().app):
            raise ConflictError(
                f"{folder} is another lease's; it was left alone", code="NotOurs", target=str(folder)
            )
        return folder


def _root() -> Path:
    return settings().local_work / settings().app


def _folders() -> Iterator[Path]:
    root = _root()
    return (folder for folder in sorted(root.iterdir()) if folder.is_dir()) if root.is_dir() else iter(())


def _folder(lease: Lease) -> Path:
    return _root() / names.vm_name(lease.id, lease.epoch)


def _job(folder: Path, job_id: str) -> Path:
    if not _JOB_NAME.fullmatch(job_id):
        raise PlatformError(f"{job_id!r} is not a job's name", code="BadName")
    return folder / "jobs" / job_id


def _resource(folder: Path) -> OwnedResource:
    return OwnedResource(id=f"/local/{folder.name}", type=TYPE, region="local", tags=_tags(folder))


def _tags(folder: Path) -> dict[str, str]:
    return local_files.read(folder / "machine.json") or {}


def _unpack(folder: Path, agent: BlobRef) -> Path:
    """The agent's folder, made aside and moved into place so that a half-made one is never used."""
    place = folder / f"agent-{agent.sha256[:16]}"
    if place.is_dir():
        return place
    data = blob.read(agent.container, agent.blob)
    found = hashlib.sha256(data).hexdigest()
    if found != agent.sha256:
        raise PlatformError(f"{agent.blob}: sha256 {found}, promised {agent.sha256}", code="AgentChanged")
    fresh = folder / f".agent-{os.getpid()}"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(fresh)
    try:
        fresh.rename(place)
    except OSError:  # a twin of this call was faster
        shutil.rmtree(fresh)
    return place


def _ended(ended: dict[str, Any], place: Path) -> JobLook:
    code = ended["exit_code"]
    if (place / local_keeper.CANCELED).exists() and code:
        state = JobState.CANCELED
    elif ended["timed_out"]:
        state = JobState.TIMED_OUT
    else:
        state = JobState.FAILED if code else JobState.SUCCEEDED
    said = (place / "stderr").read_text(errors="replace")[-1000:] if code else ""
    return JobLook(state=state, exit_code=code, message=said, poll_after_s=POLL_S)


def _running(folder: Path) -> bool:
    return any(local_files.is_running(path.parent) for path in folder.glob(f"{_JOBS}/process.json"))


def _kill(folder: Path) -> None:
    for path in folder.glob(f"{_JOBS}/process.json"):
        local_files.send(path.parent, signal.SIGKILL)


def _remove(folder: Path) -> None:
    local_files.remove(folder, _JOBS)


_LOCAL = Local()
PLATFORM = Platform(
    name="local",
    summary="the user's own machine: the same job as a child process, at no cost",
    machines=_LOCAL,
    runner=_LOCAL,
    server=LocalServer(),
    bills=False,
)
