"""Azure ML command jobs: their requests, the body we send, and what a look at one says.

Field names and enums: Microsoft.MachineLearningServices 2024-10-01, mfe.json (CommandJob, JobStatus); run details:
data-plane 2019-09-30, runHistory.json. A job's logs are not streamed: azure-ai-ml signs their addresses with a key it
does not have. Why a job failed is in its run's details.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from shared.azure import ml_client, ml_clusters, ml_data, ml_environments
from shared.azure.arm import Answer
from shared.azure.classify import classified, error_from_response
from shared.config import Settings
from shared.domain import names
from shared.domain.errors import PlatformError
from shared.domain.jobs import JobLook, JobState
from shared.domain.lease import Lease

EXPERIMENT = "muster"

_STATES = {
    "NotStarted": JobState.PENDING,
    "Starting": JobState.PENDING,
    "Provisioning": JobState.PENDING,
    "Preparing": JobState.PENDING,
    "Queued": JobState.PENDING,
    "Paused": JobState.PENDING,
    "Unknown": JobState.PENDING,
    "Running": JobState.RUNNING,
    "Finalizing": JobState.RUNNING,
    "CancelRequested": JobState.RUNNING,
    # "A run can go from NotResponding to any of the previous states" (mfe.json): it is not over.
    "NotResponding": JobState.RUNNING,
    "Completed": JobState.SUCCEEDED,
    "Failed": JobState.FAILED,
    "Canceled": JobState.CANCELED,
}
_TRACKING = re.compile(r"azureml://(?P<host>[a-z0-9-]+\.api\.azureml\.(?:ms|cn|us))/mlflow/", re.IGNORECASE)
_EXIT_CODE = re.compile(r"exit(?:ed)?(?: with)?(?: status)? code:? (?P<code>-?\d+)", re.IGNORECASE)
_NODE_LOST = re.compile(
    r"preempt|evict|node ?(?:is |was )?(?:lost|unusable|unhealthy|deallocated)", re.IGNORECASE
)
_TIMED_OUT = re.compile(r"time(?:d |-)?out|max(?:imum)? run duration", re.IGNORECASE)
_MOST_PAGES = 100  # of a run's children
_SIGNALLED = 128  # a shell tells an end by signal 9 as exit status 137


def job_name(lease: Lease, job: str) -> str:
    return names.cluster_job_name(lease.id, lease.epoch, job)


def job_id(lease: Lease, name: str) -> str:
    """The id of the lease's job that has this name; any other name as it is."""
    return name.removeprefix(job_name(lease, ""))


def get_job(name: str) -> Answer:
    """The job; `is_missing` if ARM says it is not there."""
    return ml_client.looked(ml_client.client().jobs.get, f"read job {name}", name)


def read_status(run: str) -> str | None:
    """The status of any run of the workspace, in Azure's own word; None if there is no such run."""
    seen = get_job(run)
    return None if seen.is_missing else str(seen.body["properties"].get("status"))


def put_job(name: str, body: Mapping[str, Any]) -> Answer:
    """Submit the job. One of that name that was submitted before is not run again."""
    return ml_client.sent(ml_client.client().jobs.create_or_update, f"submit job {name}", name, body)


def begin_cancel_job(name: str) -> Answer:
    return ml_client.begun(ml_client.client().jobs.begin_cancel, f"cancel job {name}", name)


def read_run(job: Mapping[str, Any]) -> dict[str, Any]:
    """The details of a job's run, from the workspace's run history. Empty where there are none."""
    return _read_history(job, "details")


def read_children(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The runs that belong to a job's run, page by page."""
    query = ""
    for _ in range(_MOST_PAGES):
        page = _read_history(job, f"children{query}")
        yield from page.get("value") or ()
        token = page.get("continuationToken")
        if not token:
            return
        query = f"?%24continuationtoken={quote(token, safe='')}"
    raise PlatformError(
        f"job {job['name']} has more than {_MOST_PAGES} pages of children", code="TooManyPages"
    )


def _read_history(job: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Something of a job's run from the workspace's run history. Empty where there is none."""
    from azure.core.rest import HttpRequest

    tracking = ((job["properties"].get("services") or {}).get("Tracking") or {}).get("endpoint") or ""
    found = _TRACKING.match(tracking)
    if found is None:  # the token goes to no host but Azure ML's
        return {}
    path = f"history/v1.0{ml_client.workspace().id}/runs/{job['name']}/{what}"
    target = f"read {what.partition('?')[0]} of run {job['name']}"
    with classified(target):
        response = ml_client.client().send_request(HttpRequest("GET", f"https://{found['host']}/{path}"))
    if response.status_code == 404:
        return {}
    if response.status_code >= 400:
        raise error_from_response(response.status_code, response.headers, response.json(), target)
    answer: dict[str, Any] = response.json()
    return answer


def job_body(
    lease: Lease,
    settings: Settings,
    *,
    job: str,
    command: str,
    environment: Mapping[str, str],
    timeout_s: int,
    data_asset: str = "",
) -> dict[str, Any]:
    """One command on one node of the lease's cluster, as the cluster's identity, cut by Azure after `timeout_s`.

    Everything that differs from job to job is in `environment`: nothing is ever pasted into the command.
    """
    return {
        "properties": {
            "jobType": "Command",
            "displayName": f"{lease.owner} {job}",
            "experimentName": EXPERIMENT,
            "tags": {**lease.tags(settings.app), "muster-job": job},
            "computeId": ml_clusters.cluster_id(lease),
            "environmentId": ml_environments.ensure_environment(),
            "identity": {"identityType": "Managed", "clientId": settings.vm_identity_client_id},
            "command": command,
            "environmentVariables": dict(environment),
            "limits": {"jobLimitsType": "Command", "timeout": f"PT{timeout_s}S"},
            "resources": {"instanceCount": 1},
            **({"inputs": ml_data.as_input(data_asset)} if data_asset else {}),
        }
    }


def job_of(job: Mapping[str, Any], poll_after_s: float) -> JobLook:
    """The state of a job as its GET shows it, without the reasons that only its run's details know."""
    state = state_of(job)
    return JobLook(
        state=state, exit_code=0 if state is JobState.SUCCEEDED else None, poll_after_s=poll_after_s
    )


def state_of(job: Mapping[str, Any]) -> JobState:
    """PENDING for a status that Azure adds one day: to wait is the one answer that a deadline puts right."""
    return _STATES.get(str(job["properties"].get("status")), JobState.PENDING)


def is_ending(job: Mapping[str, Any]) -> bool:
    """Whether it is over, or Azure was asked to end it: asked again, it would only be asked too soon."""
    return job["properties"].get("status") == "CancelRequested" or state_of(job).is_over


def explained(look: JobLook, details: Mapping[str, Any]) -> JobLook:
    """A look at a job that did not succeed, with the reasons of its run: exit code, time limit, or a node taken away."""
    code, message = _error_of(details)
    found = _EXIT_CODE.search(message)
    status = int(found["code"]) if found else None
    if status is not None and status > _SIGNALLED:
        status = _SIGNALLED - status
    state = look.state
    if state is JobState.CANCELED and _TIMED_OUT.search(f"{code} {message}"):
        state = JobState.TIMED_OUT
    return look.model_copy(
        update={
            "state": state,
            "exit_code": status,
            "message": ": ".join(text for text in (code, message[-1000:]) if text),
            "preempted": status is None and bool(_NODE_LOST.search(f"{code} {message}")),
        }
    )


def _error_of(details: Mapping[str, Any]) -> tuple[str, str]:
    """The innermost code and the text of a run's error."""
    error = (details.get("error") or {}).get("error") or {}
    inner, code = error, str(error.get("code") or "")
    while isinstance(inner.get("innerError"), dict):
        inner = inner["innerError"]
        code = str(inner.get("code") or code)
    return code, str(error.get("message") or "")
