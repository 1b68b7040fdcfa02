"""An Azure ML compute cluster per lease: it costs nothing at rest, and its nodes come and go with the jobs.

The machine of a lease is the cluster: READY means that it takes jobs, and several of them share it, one on each node.
ARM requests of a whole life with one job: create 2 (look, PUT), ready 1, submit 4 (cluster, job, environment, PUT), looks
1 or 2 each, release 3 (look, scale to 0, nodes), looks 1 each, delete 2, gone 1 and again 1.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from node import package
from shared.azure import agent, blob, ledger, ml_clusters, ml_headroom, ml_jobs, ml_sweeps
from shared.azure.arm import Answer, log_fields
from shared.azure.ml_clusters import CLUSTER, cluster_name, cluster_of
from shared.azure.resources import tags_of
from shared.azure.vm_estate import is_ours, is_still_owned
from shared.config import settings
from shared.domain.errors import ConflictError, LeaseLost, NotFoundError, TransientError
from shared.domain.jobs import BlobRef, JobLook, JobRequest, JobState
from shared.domain.lease import TAG_APP, Inventory, Lease, Machine, MachineState, Operation, OwnedResource
from shared.domain.offers import Headroom, Offer
from shared.domain.sweep import SweepChild, SweepLook, SweepSpec
from shared.platforms.base import Platform

logger = logging.getLogger(__name__)

# Where ARM names no time of its own; a release is looked at no sooner. A cluster without nodes is made in seconds.
CREATE_POLL_S = 15.0
RELEASE_POLL_S = 20.0
JOB_POLL_S = 30.0

_USABLE = (MachineState.CREATING, MachineState.STARTING, MachineState.READY)


class AmlCompute:
    """Provisioner and JobRunner of the `amlcompute` platform. Stateless: everything is read from Azure."""

    def check_headroom(self, offers: Sequence[Offer], nodes: int) -> tuple[Headroom, ...]:
        """Azure ML's quotas and sizes, two requests per region."""
        return ml_headroom.check(offers, nodes)

    def begin_provision(self, lease: Lease) -> Operation:
        """Create the cluster, with no node, unless it is there and ours.

        The API overwrites what is there, so it is looked at first. Raises LeaseLost for a lease that is over,
        ConflictError for a cluster of that name without the lease's tags, SpecError without MUSTER_ML_WORKSPACE.
        """
        name = cluster_name(lease)
        seen = ml_clusters.get_cluster(name)
        if not seen.is_missing:
            self._check_ours(seen, lease)
        elif lease.deadline <= seen.date:
            raise LeaseLost(
                f"lease {lease.id} ended at {lease.deadline.isoformat()}; nothing was created", lease=lease.id
            )
        else:
            body = ml_clusters.cluster_body(lease, settings())
            seen = ml_clusters.begin_create_cluster(name, body)
            logger.info("creation begun", extra={**log_fields(lease, seen), "offer": str(lease.offer)})
        return Operation(poll_after_s=seen.poll_after_s(CREATE_POLL_S))

    def observe_machine(self, lease: Lease) -> Machine:
        """One look. A cluster of that name that is not ours counts as absent: this lease has none."""
        seen = ml_clusters.get_cluster(cluster_name(lease))
        if seen.is_missing or not _is_ours(seen, lease):
            return Machine(state=MachineState.ABSENT, poll_after_s=seen.poll_after_s(CREATE_POLL_S))
        return cluster_of(seen.body, lease, seen.poll_after_s(CREATE_POLL_S))

    def begin_release(self, lease: Lease) -> Operation | None:
        """Allow no node any more, and cancel what works on those there are: a node leaves when its job is over.

        A job whose agent has said its last word is about to end, and is left to end as what it was. None once no node is
        left. What failed to be made cannot be scaled, and is deleted instead.
        """
        name = cluster_name(lease)
        seen = ml_clusters.get_cluster(name)
        if seen.is_missing:
            return None
        self._check_ours(seen, lease)
        state = cluster_of(seen.body, lease, RELEASE_POLL_S).state
        if state is MachineState.DEALLOCATED:
            return None
        if state is MachineState.FAILED:
            return self.begin_delete(lease)
        if state in _USABLE:
            seen = ml_clusters.begin_scale_to_zero(name)
            logger.info("scaling to zero begun", extra=log_fields(lease, seen))
        if state is not MachineState.DELETING:
            for job in ml_clusters.running_jobs(name):
                if not ledger.read_progress(lease.owner, ml_jobs.job_id(lease, job)).is_last_word:
                    _cancel(job)
        return Operation(poll_after_s=max(seen.poll_after_s(RELEASE_POLL_S), RELEASE_POLL_S))

    def begin_delete(self, lease: Lease) -> Operation | None:
        """Delete the cluster with all its nodes. None if it is gone."""
        name = cluster_name(lease)
        seen = ml_clusters.get_cluster(name)
        if seen.is_missing:
            return None
        self._check_ours(seen, lease)
        if not _is_deleting(seen):
            seen = ml_clusters.begin_delete_cluster(name)
            logger.info("deletion begun", extra=log_fields(lease, seen))
        return Operation(poll_after_s=max(seen.poll_after_s(RELEASE_POLL_S), RELEASE_POLL_S))

    def list_remains(self, lease: Lease) -> tuple[OwnedResource, ...]:
        """The cluster is all there is: nodes and their disks are within it."""
        seen = ml_clusters.get_cluster(cluster_name(lease))
        if seen.is_missing or not _is_ours(seen, lease):
            return ()
        region = ml_clusters.region_of(seen.body)
        return (OwnedResource(id=seen.body["id"], type=CLUSTER, region=region, tags=tags_of(seen.body)),)

    def list_owned(self) -> Inventory:
        """One request, all tags included, and ARM's own time of it. Nothing where the app has no workspace."""
        if not settings().ml_workspace_id:
            return Inventory(now=datetime.min.replace(tzinfo=UTC))
        found, now = ml_clusters.list_clusters()
        owned = tuple(each for each in found if each.tags.get(TAG_APP) == settings().app)
        return Inventory(resources=owned, now=now)

    def begin_removal(self, resource: OwnedResource) -> None:
        """Delete the cluster at once: its nodes go with it, and so does their bill."""
        seen = ml_clusters.get_cluster(resource.name)
        if seen.is_missing:
            return
        if not is_still_owned(resource, tags_of(seen.body), settings().app):
            raise ConflictError(
                f"cluster {resource.name} no longer carries the tags it was found by; it was left alone",
                code="NotOurs",
                target=resource.id,
            )
        if not _is_deleting(seen):
            ml_clusters.begin_delete_cluster(resource.name)
            logger.info("removal begun", extra={"resource": resource.id})

    def submit_job(self, lease: Lease, job: JobRequest) -> Operation:
        """Queue the agent as a command job. Raises LeaseLost if the lease has no cluster that takes jobs.

        A job's name is for ever: one that is there was submitted by an earlier call, whatever has become of it.
        """
        return self._submit(lease, job.id, lambda: _body(lease, job))

    def observe_job(self, lease: Lease, job_id: str) -> JobLook:
        """One look; another at the details of a run that failed, and at the cluster of a job that is not over by itself.

        A job that waits for a node says in `message` what keeps the cluster from getting one. A node that is taken away
        sends its job back to the queue: it is PENDING again, and over only where Azure gave it up (`preempted`).
        """
        seen = ml_jobs.get_job(ml_jobs.job_name(lease, job_id))
        poll_after_s = seen.poll_after_s(JOB_POLL_S)
        look = (
            JobLook(state=JobState.ABSENT, poll_after_s=poll_after_s)
            if seen.is_missing
            else ml_jobs.job_of(seen.body, poll_after_s)
        )
        if look.state is JobState.SUCCEEDED:
            return look
        if look.state in (JobState.FAILED, JobState.CANCELED):
            look = ml_jobs.explained(look, ml_jobs.read_run(seen.body))
            if look.exit_code is not None:
                return look
        is_lost, why = _cluster_told(lease)
        if is_lost or look.state is JobState.PENDING:
            return look.model_copy(update={"machine_lost": is_lost, "message": why})
        return look

    def submit_sweep(self, lease: Lease, sweep: SweepSpec) -> Operation:
        """Submit one sweep job whose trials run the agent. Raises as `submit_job`; PlatformError for a search refused."""
        return self._submit(lease, sweep.id, lambda: _sweep_body(lease, sweep))

    def observe_sweep(self, lease: Lease, sweep: str) -> SweepLook:
        """One look at the sweep, at its children, and at the cluster of one that has not done what it was to do.

        A sweep ends with the cluster it loses: what its children then failed of is no word about their trials.
        """
        seen = ml_jobs.get_job(ml_jobs.job_name(lease, sweep))
        poll_after_s = seen.poll_after_s(JOB_POLL_S)
        if seen.is_missing:
            return SweepLook(
                state="absent", is_over=True, message="there is no such sweep", poll_after_s=poll_after_s
            )
        look = ml_sweeps.look_of(seen.body, ml_sweeps.read_children(seen.body), poll_after_s)
        if look.succeeded:
            return look
        is_lost, why = _cluster_told(lease)
        if look.is_over and not is_lost:
            why = ml_jobs.explained(JobLook(state=JobState.FAILED), ml_jobs.read_run(seen.body)).message
        return look.model_copy(update={"machine_lost": is_lost, "message": why})

    def list_unfinished(self, lease: Lease, sweep: str) -> tuple[SweepChild, ...]:
        """Two requests, and one for each page of children."""
        seen = ml_jobs.get_job(ml_jobs.job_name(lease, sweep))
        if seen.is_missing:
            return ()
        # One whose children all failed or were stopped has Failed, and ended by itself none the less.
        tried_all = ml_jobs.state_of(seen.body) in (JobState.SUCCEEDED, JobState.FAILED)
        return tuple(
            SweepChild(
                name=child.name,
                number=child.number,
                stopped=tried_all and child.state is JobState.CANCELED,
                reason=child.reason,
                parameters=child.parameters,
            )
            for child in ml_sweeps.read_children(seen.body)
            if child.state is JobState.FAILED or (tried_all and child.state is JobState.CANCELED)
        )

    def cancel_job(self, lease: Lease, job_id: str) -> None:
        """Ask Azure to end the job, and read back that it will. Nothing to do for one that is over or never was.

        Raises TransientError while Azure does not show it: ask again.
        """
        name = ml_jobs.job_name(lease, job_id)
        seen = ml_jobs.get_job(name)
        if seen.is_missing or ml_jobs.is_ending(seen.body):
            return
        _cancel(name)
        seen = ml_jobs.get_job(name)
        if not seen.is_missing and not ml_jobs.is_ending(seen.body):
            status = seen.body["properties"].get("status")
            raise TransientError(
                f"job {name} was asked to end and is {status}",
                code="NotCancelled",
                target=name,
                retry_after_s=5.0,
            )

    def _submit(self, lease: Lease, job: str, body: Callable[[], Mapping[str, Any]]) -> Operation:
        self._check_takes_jobs(lease, job)
        name = ml_jobs.job_name(lease, job)
        sent = ml_jobs.get_job(name)
        if sent.is_missing:
            sent = _send(lease, job, name, body())
        _check_runs_here(sent, lease, name)
        return Operation(poll_after_s=sent.poll_after_s(JOB_POLL_S))

    def _check_takes_jobs(self, lease: Lease, job: str) -> None:
        seen = ml_clusters.get_cluster(cluster_name(lease))
        usable = not seen.is_missing and _is_ours(seen, lease)
        if not usable or cluster_of(seen.body, lease, JOB_POLL_S).state not in _USABLE:
            raise LeaseLost(f"{lease.offer}: no cluster for job {job}", lease=lease.id)

    def _check_ours(self, seen: Answer, lease: Lease) -> None:
        if not _is_ours(seen, lease):
            raise ConflictError(
                f"cluster {cluster_name(lease)} exists without the tags of lease {lease.id}, epoch {lease.epoch} "
                f"(it has {tags_of(seen.body)}); it was left alone",
                code="NotOurs",
                target=seen.body.get("id"),
            )


def _check_runs_here(sent: Answer, lease: Lease, name: str) -> None:
    if sent.body["properties"].get("computeId", "").lower() != ml_clusters.cluster_id(lease).lower():
        raise ConflictError(f"job {name} exists and is not this lease's; it was left alone", code="NotOurs")


def _cluster_told(lease: Lease) -> tuple[bool, str]:
    """Whether the lease's cluster can run nothing any more, and what it says: what is wrong, or what it lacks."""
    cluster = ml_clusters.get_cluster(cluster_name(lease))
    if cluster.is_missing or not _is_ours(cluster, lease):
        return True, "the cluster is gone"
    state = cluster_of(cluster.body, lease, JOB_POLL_S).state
    if state not in _USABLE:
        return True, f"the cluster is {state}"
    return False, ": ".join(filter(None, ml_clusters.failure_of(cluster.body)))


def _body(lease: Lease, job: JobRequest) -> dict[str, Any]:
    return ml_jobs.job_body(
        lease,
        settings(),
        job=job.id,
        command=package.bootstrap_script(),
        environment=_environment(job.agent, job.job),
        timeout_s=job.timeout_s,
        data_asset=job.data_asset,
    )


def _sweep_body(lease: Lease, sweep: SweepSpec) -> dict[str, Any]:
    search = json.loads(blob.read(sweep.search.container, sweep.search.blob))
    return ml_sweeps.sweep_body(
        lease,
        settings(),
        sweep=sweep.id,
        search=search,
        command=ml_sweeps.command(package.bootstrap_script(), search["searchSpace"]),
        environment=_environment(sweep.agent, sweep.job),
        data_asset=sweep.data_asset,
    )


def _environment(code: BlobRef, job: BlobRef) -> dict[str, str]:
    value = package.bootstrap_parameter(
        settings().storage_account_url,
        agent.reference(code),
        agent.reference(job),
        settings().vm_identity_client_id,
    )
    return {package.PARAMETER: value}


def _send(lease: Lease, job: str, name: str, body: Mapping[str, Any]) -> Answer:
    try:
        sent = ml_jobs.put_job(name, body)
    except NotFoundError as error:
        raise LeaseLost(f"{lease.offer}: no cluster for job {job}: {error}", lease=lease.id) from error
    logger.info("job submitted", extra={**log_fields(lease, sent), "job": job})
    return sent


def _cancel(name: str) -> None:
    try:
        ml_jobs.begin_cancel_job(name)
    except NotFoundError:
        return
    logger.info("job cancelled", extra={"job": name})


def _is_ours(seen: Answer, lease: Lease) -> bool:
    return is_ours(tags_of(seen.body), lease, settings().app)


def _is_deleting(seen: Answer) -> bool:
    return bool(seen.body.get("properties", {}).get("provisioningState") == "Deleting")


_AMLCOMPUTE = AmlCompute()
PLATFORM = Platform(
    name="amlcompute",
    summary="an Azure ML compute cluster of its own for each run, at zero nodes before and after it",
    machines=_AMLCOMPUTE,
    runner=_AMLCOMPUTE,
    searcher=_AMLCOMPUTE,
    shares_machine=True,
)
