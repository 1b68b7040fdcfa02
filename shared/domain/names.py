"""The names of everything a run makes, derived from what it is for: a retry finds what the first try made."""

from __future__ import annotations

import hashlib
import re

# Valid as a durable instance id (at most 100 characters, none of / \ # ?), as a blob name's segment and in a tag. The
# longest here has 40 of the workload, 23 of `manual-...` and 16 of `rollback-deploy-`.
_SLOT = re.compile(r"[0-9]{8}T[0-9]{6}Z|(?:manual|event|key)-[0-9a-f]{16}")
_ROLLBACK = "rollback-"
_RUN_ID = re.compile(rf"(?=.{{1,100}}\Z)[a-z]+-[a-z][a-z0-9-]*-(?:{_SLOT.pattern})")
_VM_NAME = re.compile(r"vm-(?P<lease>[0-9a-f]{16})-e(?P<epoch>0|[1-9][0-9]{0,8})")


def score_run_id(workload: str, slot: str) -> str:
    """`score_run_id("flights", "20130201T020000Z") -> "score-flights-20130201T020000Z"`."""
    return f"score-{workload}-{slot}"


def train_run_id(workload: str, slot: str) -> str:
    """`train_run_id("flights", "event-0123456789abcdef") -> "train-flights-event-0123456789abcdef"`."""
    return f"train-{workload}-{slot}"


def drift_run_id(workload: str, slot: str) -> str:
    """`drift_run_id("flights", "20130201T020000Z") -> "drift-flights-20130201T020000Z"`."""
    return f"drift-{workload}-{slot}"


def deploy_run_id(workload: str, slot: str) -> str:
    """`deploy_run_id("live", "key-0123456789abcdef") -> "deploy-live-key-0123456789abcdef"`."""
    return f"deploy-{workload}-{slot}"


def rollback_run_id(deploy_run: str) -> str:
    """The one run that takes a deployment back after its commit."""
    return f"{_ROLLBACK}{deploy_run}"


def is_run_id(text: str) -> bool:
    """Whether `text` could be a run's id, and so is safe in a blob name."""
    return _RUN_ID.fullmatch(text) is not None


def is_run_of(run: str, workload: str) -> bool:
    """Whether `run` is a run id made for `workload`, of whatever kind the workload is."""
    slot = run.removeprefix(_ROLLBACK).partition("-")[2].removeprefix(f"{workload}-")
    return is_run_id(run) and _SLOT.fullmatch(slot) is not None


def lease_id(run: str, role: str, ordinal: int) -> str:
    """16 hexadecimal digits. The same machine of the same run has the same lease on every replay."""
    return hashlib.sha256(f"{run}|{role}|{ordinal}".encode()).hexdigest()[:16]


def job_id(batch: int, epoch: int, attempt: int = 1) -> str:
    """`job_id(0, 1) -> "b00-e1"`, `job_id(0, 1, 2) -> "b00-e1r2"`: one batch of shards on the machine of one epoch.

    In the order of their names a later attempt follows an earlier one.
    """
    return f"b{batch:02d}-e{epoch}" + (f"r{attempt}" if attempt > 1 else "")


def trial_id(number: int, total: int) -> str:
    """`trial_id(3, 8) -> "t003"`. In the order of their names they are in the order of their numbers."""
    return f"t{number:0{max(3, len(str(total - 1)))}d}"


def train_job_id(trial: str, epoch: int, attempt: int = 1) -> str:
    """`train_job_id("t003", 1) -> "t003-e1"`: the job that begins with this trial, on the machine of one epoch."""
    return f"{trial}-e{epoch}" + (f"r{attempt}" if attempt > 1 else "")


def sweep_job_id(epoch: int) -> str:
    """`sweep_job_id(1) -> "sweep-e1"`: the search of a run, on the cluster of one epoch."""
    return f"sweep-e{epoch}"


def vm_name(lease: str, epoch: int) -> str:
    """`vm_name("0123456789abcdef", 2) -> "vm-0123456789abcdef-e2"`. Serves as the computer's name too."""
    return f"vm-{lease}-e{epoch}"


def deployment_name(run: str) -> str:
    """`d` and 8 hexadecimal digits: what a run deploys has one name on every replay, within Azure ML's 3 to 32."""
    return "d" + hashlib.sha256(run.encode()).hexdigest()[:8]


def profile_deployment_name(run: str, number: int) -> str:
    """`p`, 8 hexadecimal digits and a number: what a run tries a candidate with. No green and no blue is called so."""
    return f"p{hashlib.sha256(run.encode()).hexdigest()[:8]}-{number}"


def serving_lease_id(run: str) -> str:
    """The lease that the machines behind a run's deployment carry in their tags."""
    return lease_id(run, "serve", 0)


def cluster_name(lease: str, epoch: int) -> str:
    """`cluster_name("0123456789abcdef", 2) -> "ml-0123456789ab-e2"`. Azure ML allows 24 characters."""
    return f"ml-{lease[:12]}-e{epoch}"


def cluster_job_name(lease: str, epoch: int, job: str) -> str:
    """A job's name in its workspace, where all clusters' jobs share one space of names, for ever."""
    return f"{lease}-e{epoch}-{job}"


def parse_vm_name(text: str) -> tuple[str, int] | None:
    """The lease and epoch that a machine's name was made of; None if `vm_name` could not have made it."""
    found = _VM_NAME.fullmatch(text)
    return (found["lease"], int(found["epoch"])) if found else None
