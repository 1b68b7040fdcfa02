"""The local platform: what one app began, another sees and ends; and nobody else's folder or process is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.config import settings
from shared.domain.errors import ConflictError, PlatformError
from shared.domain.jobs import JobState
from shared.domain.lease import Lease, MachineState
from shared.platforms import local_keeper, platforms
from tests.support.cloud import Cloud

LOCAL = platforms()["local"]
HERE, JOBS = LOCAL.provisioner, LOCAL.jobs


@pytest.fixture
def lease(cloud: Cloud) -> Iterator[Lease]:
    lease = cloud.lease(LOCAL)
    HERE.begin_provision(lease)
    yield lease
    cloud.gone(LOCAL, lease)


def _folder(lease: Lease) -> Path:
    return settings().local_work / settings().app / f"vm-{lease.id}-e{lease.epoch}"


def _process(lease: Lease) -> int:
    return int(json.loads((_folder(lease) / "jobs/b00-e1/process.json").read_text())["pid"])


def _in_another_app(call: str, lease: Lease, *arguments: str) -> None:
    """One call of the platform in a process of its own, which ends right after it."""
    script = (
        "import sys; from shared.domain.lease import Lease; from shared.domain.jobs import JobRequest; "
        "from shared.platforms import platforms; here = platforms()['local']; "
        f"lease = Lease.model_validate_json(sys.argv[1]); {call}"
    )
    subprocess.run(
        [sys.executable, "-c", script, lease.model_dump_json(), *arguments], check=True, timeout=60
    )


def test_a_job_that_a_former_app_began_is_seen_and_ended_by_this_one(cloud: Cloud, lease: Lease) -> None:
    job = cloud.job("sleep").model_dump_json()
    _in_another_app("here.jobs.submit_job(lease, JobRequest.model_validate_json(sys.argv[2]))", lease, job)

    assert JOBS.observe_job(lease, "b00-e1").state is JobState.RUNNING
    keeper = _process(lease)
    HERE.begin_release(lease)
    cloud.until(lambda: HERE.observe_machine(lease), lambda m: m.state is MachineState.DEALLOCATED)

    assert local_keeper.started(keeper) is None


def test_a_job_of_this_app_is_ended_by_another(cloud: Cloud, lease: Lease) -> None:
    JOBS.submit_job(lease, cloud.job("sleep"))
    keeper = _process(lease)

    _in_another_app("here.provisioner.begin_delete(lease)", lease)

    cloud.until(lambda: local_keeper.started(keeper), lambda alive: alive is None)
    assert HERE.observe_machine(lease).state is MachineState.ABSENT


def test_a_killed_job_is_a_lost_machine_and_no_failure_of_the_user_s(cloud: Cloud, lease: Lease) -> None:
    JOBS.submit_job(lease, cloud.job("sleep"))
    os.killpg(_process(lease), signal.SIGKILL)

    look = cloud.job_over(LOCAL, lease, "b00-e1")

    assert look.machine_lost


def test_an_agent_that_is_not_the_promised_one_is_never_started(cloud: Cloud, lease: Lease) -> None:
    job = cloud.job("exit-0")
    forged = job.model_copy(update={"agent": job.agent.model_copy(update={"sha256": "0" * 64})})

    with pytest.raises(PlatformError, match="promised"):
        JOBS.submit_job(lease, forged)

    assert JOBS.observe_job(lease, "b00-e1").state is JobState.ABSENT


def test_another_lease_s_folder_is_left_alone(cloud: Cloud, lease: Lease) -> None:
    (_folder(lease) / "machine.json").write_text(json.dumps(cloud.lease(LOCAL).tags("muster")))

    for forbidden in (HERE.begin_provision, HERE.begin_release, HERE.begin_delete):
        with pytest.raises(ConflictError):
            forbidden(lease)
    assert HERE.observe_machine(lease).state is MachineState.ABSENT

    (_folder(lease) / "machine.json").write_text(json.dumps(lease.tags("muster")))


def test_a_process_that_only_has_the_number_of_ours_is_not_killed(cloud: Cloud, lease: Lease) -> None:
    JOBS.submit_job(lease, cloud.job("exit-0"))
    cloud.job_over(LOCAL, lease, "b00-e1")
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as stranger:
        record = _folder(lease) / "jobs/b00-e1/process.json"
        record.write_text(json.dumps({"pid": stranger.pid, "started": "another boot/1"}))

        HERE.begin_release(lease)

        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("name", ["../b00", "a/b", ".."])
def test_a_job_s_name_cannot_reach_out_of_its_lease(cloud: Cloud, lease: Lease, name: str) -> None:
    with pytest.raises(PlatformError):
        JOBS.submit_job(lease, cloud.job("exit-0", id=name))
