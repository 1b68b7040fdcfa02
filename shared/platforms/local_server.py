"""Models served on the user's own machine: scoring servers as detached children, and a weighted router before them.

An endpoint is a folder, a deployment a folder in it; everything is on disk, so that whichever worker looks next sees
what an earlier one began. Free of charge, on loopback only, and as good as the machine: nothing starts a server again
that died.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.azure import blob, ml_codes
from shared.config import settings
from shared.domain.errors import ConflictError, NotFoundError, PlatformError, SpecError, TransientError
from shared.domain.lease import TAG_APP, TAG_EPOCH, TAG_OWNER, Operation
from shared.domain.redaction import redact
from shared.domain.serving import (
    FENCED,
    MAX_LOG,
    DeploymentLook,
    DeploymentPlan,
    DeploymentState,
    EndpointLook,
    EndpointPlan,
    MetricsQuery,
    Resources,
    ScoringAccess,
    ServingMetrics,
    Target,
    TargetLook,
    TrafficChange,
    at_any_time,
    serving,
)
from shared.platforms import local_files, local_metrics, local_router

logger = logging.getLogger(__name__)

POLL_S = 2.0
_FOREVER_S = 10 * 365 * 24 * 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_INSTANCES = "instances/*"
_ANY = 2**63  # an epoch above all: for those that only read


class LocalServer:
    """Server of the `local` platform."""

    def check_target(self, target: Target, resources: Resources) -> TargetLook:
        if target.auth_mode != "key":
            raise SpecError(
                f"target.authMode {target.auth_mode}: an endpoint on this machine is opened by a key"
            )
        return TargetLook(ready=True, poll_after_s=POLL_S)

    def read_endpoint(self, endpoint: str) -> EndpointLook:
        folder = _folder(endpoint)
        told = _told(folder)
        if not told:
            return EndpointLook(exists=False, poll_after_s=POLL_S)
        _note_time(folder)
        places = sorted(place for place in (folder / "deployments").glob("*") if _NAME.fullmatch(place.name))
        return EndpointLook(
            exists=True,
            state="Succeeded",
            traffic=serving(told["traffic"]),
            epoch=int(told["tags"][TAG_EPOCH]),
            scoring_uri=_uri(folder),
            deployments=tuple(_look(place, told["traffic"]) for place in places),
            tags=told["tags"],
            poll_after_s=POLL_S,
        )

    def begin_endpoint(self, plan: EndpointPlan) -> Operation:
        folder = _folder(plan.endpoint)
        local_files.make_root(_root())
        (folder / "deployments").mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            told = _told(folder)
            if not told:
                told = {"key": secrets.token_urlsafe(32), "traffic": {}, "tags": plan.tags(settings().app)}
            else:
                _check(plan.endpoint, told, plan.epoch)
            told["tags"][TAG_EPOCH] = str(plan.epoch)
            local_files.replace(folder / "endpoint.json", told)
            _ensure_router(folder)
        return Operation(poll_after_s=POLL_S)

    def begin_deployment(self, plan: DeploymentPlan) -> Operation:
        """Bring model and code here, and start its servers. A twin of this call finds them begun."""
        with self._own(plan.endpoint, plan.epoch) as folder:
            place = _place(folder, plan.name)
            if place.is_dir():
                if not _is_of(place, plan):
                    raise _not_ours(f"deployment {plan.endpoint}/{plan.name}", _tags(place))
            else:
                fresh = folder / "deployments" / f".{plan.name}"
                shutil.rmtree(fresh, ignore_errors=True)
                _fill(fresh, plan)
                fresh.rename(place)
            _ensure_router(folder)
            for number in range(_servers(plan.resources)):
                _start_instance(place, number, plan)
        logger.info(
            "deployment begun", extra={"endpoint": plan.endpoint, "deployment": plan.name, "run": plan.run}
        )
        return Operation(poll_after_s=POLL_S)

    def observe_deployment(self, plan: DeploymentPlan) -> DeploymentLook:
        folder = _folder(plan.endpoint)
        place = _place(folder, plan.name)
        if not _is_of(place, plan):
            return DeploymentLook(name=plan.name, state=DeploymentState.ABSENT, poll_after_s=POLL_S)
        return _look(place, _told(folder).get("traffic", {}))

    def set_traffic(self, change: TrafficChange, *, confirm: Callable[[], None] = at_any_time) -> Operation:
        with self._own(change.endpoint, change.epoch) as folder:
            told, wanted = _told(folder), serving(change.weights)
            for name in wanted:
                _check_ready(change.endpoint, _look(_place(folder, name), {}))
            if (serving(told["traffic"]), told["tags"][TAG_EPOCH]) != (wanted, str(change.epoch)):
                confirm()
                told["traffic"], told["tags"][TAG_EPOCH] = wanted, str(change.epoch)
                local_files.replace(folder / "endpoint.json", told)
                logger.info(
                    "traffic set", extra={"endpoint": change.endpoint, "run": change.run, "weights": wanted}
                )
            _note_time(folder)
        return Operation(poll_after_s=POLL_S)

    def read_logs(self, endpoint: str, deployment: str, tail: int = 200) -> str:
        place = _place(_folder(endpoint), deployment)
        texts = [path.read_text(errors="replace") for path in sorted(place.glob("instances/*/std*"))]
        lines = "\n".join(text for text in texts if text.strip()).splitlines()
        return redact("\n".join(lines[-tail:]))[-MAX_LOG:] if lines else "nothing was written"

    def begin_deletion(self, endpoint: str, deployment: str, run: str = "") -> Operation | None:
        folder = _folder(endpoint)
        place = _place(folder, deployment)
        if not place.is_dir():
            return None
        with _locked(folder):
            tags = _tags(place)
            if tags.get(TAG_APP) != settings().app or (run and tags.get(TAG_OWNER) != run):
                raise _not_ours(f"deployment {endpoint}/{deployment}", tags)
            if weight := _told(folder).get("traffic", {}).get(deployment, 0):
                raise ConflictError(
                    f"deployment {endpoint}/{deployment} has {weight} % of the traffic; it was not deleted",
                    code="HasTraffic",
                )
            local_files.remove(place, _INSTANCES)
            if not any(each.is_dir() for each in (folder / "deployments").glob("[!.]*")):
                local_files.send(folder / "router", signal.SIGKILL)
        return Operation(poll_after_s=POLL_S)

    def scoring_access(self, endpoint: str) -> ScoringAccess:
        with self._own(endpoint, _ANY) as folder:
            _ensure_router(folder)
            told, uri = _told(folder), _uri(folder)
        if not uri:
            raise TransientError(
                f"endpoint {endpoint} does not listen yet", code="NoScoringUri", retry_after_s=POLL_S
            )
        return ScoringAccess(uri=uri, headers={"Authorization": f"Bearer {told['key']}"})

    def read_metrics(self, query: MetricsQuery) -> dict[str, ServingMetrics]:
        folder = _folder(query.endpoint)
        if folder.is_dir():
            _note_time(folder)
        return local_metrics.read_metrics(folder, query)

    @contextmanager
    def _own(self, endpoint: str, epoch: int) -> Iterator[Path]:
        """The endpoint's folder, held for one change under `epoch`. Raises NotFoundError, ConflictError."""
        folder = _folder(endpoint)
        if not (folder / "endpoint.json").exists():
            raise NotFoundError(f"endpoint {endpoint} is not there", code="EndpointNotFound")
        with _locked(folder):
            _check(endpoint, _told(folder), epoch)
            yield folder


def _root() -> Path:
    return settings().local_work / ".endpoints"  # no app is called so: beside the folders of apps


def _folder(endpoint: str) -> Path:
    if not _NAME.fullmatch(endpoint):
        raise PlatformError(f"{endpoint!r} is not an endpoint's name", code="BadName")
    return _root() / endpoint


def _place(folder: Path, deployment: str) -> Path:
    if not _NAME.fullmatch(deployment):
        raise PlatformError(f"{deployment!r} is not a deployment's name", code="BadName")
    return folder / "deployments" / deployment


def _told(folder: Path) -> dict[str, Any]:
    """What the endpoint is: {"key", "traffic", "tags"}; nothing if it is not there."""
    return local_files.read(folder / "endpoint.json") or {}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time, of all processes on this machine."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check(endpoint: str, told: Mapping[str, Any], epoch: int) -> None:
    """Raises ConflictError if the endpoint is another app's, or held under a higher epoch."""
    tags = told.get("tags") or {}
    if tags.get(TAG_APP) != settings().app:
        raise _not_ours(f"endpoint {endpoint}", tags)
    if int(tags[TAG_EPOCH]) > epoch:
        raise ConflictError(
            f"endpoint {endpoint} is held under epoch {tags[TAG_EPOCH]}; this run's is {epoch}: it may write no more",
            code=FENCED,
        )


def _not_ours(what: str, tags: Mapping[str, str]) -> ConflictError:
    return ConflictError(f"{what} carries other tags ({dict(tags)}); it was left alone", code="NotOurs")


def _check_ready(endpoint: str, look: DeploymentLook) -> None:
    if look.state is DeploymentState.CREATING:
        raise TransientError(
            f"deployment {endpoint}/{look.name} is not up yet", code="DeploymentBusy", retry_after_s=POLL_S
        )
    if look.state is not DeploymentState.READY:
        raise ConflictError(
            f"deployment {endpoint}/{look.name} is {look.state}: it can have no traffic; nothing was changed",
            code="DeploymentNotReady",
        )


def _tags(place: Path) -> dict[str, str]:
    return (local_files.read(place / "server.json") or {}).get("tags") or {}


def _is_of(place: Path, plan: DeploymentPlan) -> bool:
    tags = _tags(place)
    wanted = (settings().app, plan.run, str(plan.epoch))
    return (tags.get(TAG_APP), tags.get(TAG_OWNER), tags.get(TAG_EPOCH)) == wanted


def _look(place: Path, traffic: Mapping[str, int]) -> DeploymentLook:
    look = DeploymentLook(
        name=place.name, state=DeploymentState.ABSENT, tags=_tags(place), weight=traffic.get(place.name, 0),
        poll_after_s=POLL_S,
    )  # fmt: skip
    if not look.tags:
        return look
    wanted = int((local_files.read(place / "server.json") or {})["instances"])
    instances = sorted(place.glob(_INSTANCES))
    up = [each for each in instances if (each / "port").exists()]
    if dead := [
        each for each in instances if (each / "process.json").exists() and not local_files.is_running(each)
    ]:
        code = "ServerDied" if dead[0] in up else "ServerNotStarted"
        return look.model_copy(
            update={"state": DeploymentState.FAILED, "code": code, "message": _last_words(dead[0])}
        )
    state = DeploymentState.READY if len(up) == wanted else DeploymentState.CREATING
    return look.model_copy(update={"state": state, "instances": len(up)})


def _last_words(instance: Path) -> str:
    """The line in which our scoring script says why it cannot serve, else the last that was written."""
    with suppress(FileNotFoundError):
        lines = [
            line for line in (instance / "stderr").read_text(errors="replace").splitlines() if line.strip()
        ]
        told = [line for line in lines if line.startswith("muster:")]
        return redact((told or lines or [""])[-1])[:1000]
    return ""


def _fill(place: Path, plan: DeploymentPlan) -> None:
    """Model, code and settings of a deployment."""
    (place / "model").mkdir(parents=True)
    for name in (plan.model.file, "MODEL.json"):
        (place / "model" / name).write_bytes(blob.read(plan.model.container, plan.model.prefix + name))
    for name, content in ml_codes.serving_files(plan.code, plan.entry).items():
        path = place / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    resources = plan.resources
    told = {
        "tags": plan.tags(settings().app),
        "instances": _servers(resources),
        "timeout_s": resources.request_timeout.total_seconds(),
        "max_concurrent": resources.max_concurrent * resources.instances,
    }
    (place / "server.json").write_text(json.dumps(told))


def _servers(resources: Resources) -> int:
    """Processes: as many for each instance as an instance in Azure is told to have."""
    return resources.instances * resources.workers()


def _start_instance(place: Path, number: int, plan: DeploymentPlan) -> None:
    instance = place / "instances" / str(number)
    command = [sys.executable, "-m", "node.serving.wsgi", str(instance / "port")]
    local_files.keep(
        instance, command, folder=place / "code", timeout_s=_FOREVER_S, environment=_environment(place, plan)
    )


def _environment(place: Path, plan: DeploymentPlan) -> dict[str, str]:
    """What the scoring script reads (node/serving), and what its client of storage needs to get there."""
    told = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MUSTER_", "PYTHON"))},
        "AZUREML_MODEL_DIR": str(place / "model"),
        "MUSTER_MODEL_SHA256": plan.model.sha256,
        "MUSTER_WORKSPACE": settings().ml_workspace_id,
        "MUSTER_SERVICE": plan.endpoint,
        "MUSTER_DEPLOYMENT": plan.name,
        "MUSTER_MODEL": plan.model.name,
        "MUSTER_VERSION": plan.model.version,
    }
    if plan.collect:
        told |= {"MUSTER_COLLECT": plan.collect, "MUSTER_COLLECT_CLIENT_ID": local_files.identity() or ""}
    return told


def _ensure_router(folder: Path) -> None:
    """Start the endpoint's router unless it runs. Called with the endpoint held."""
    place = folder / "router"
    if local_files.is_running(place):
        return
    for name in ("process.json", "exit.json"):
        (place / name).unlink(missing_ok=True)
    command = [sys.executable, "-I", local_router.__file__, str(folder)]
    local_files.keep(place, command, folder=folder, timeout_s=_FOREVER_S)


def _uri(folder: Path) -> str:
    place = folder / "router"
    is_up = local_files.is_running(place) and (place / "port").exists()
    return f"http://127.0.0.1:{(place / 'port').read_text()}/score" if is_up else ""


def _note_time(folder: Path) -> None:
    """A rollout's window is told in the app's time."""
    local_metrics.note_time(folder, time.time(), local_files.now())
