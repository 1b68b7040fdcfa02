"""Online endpoints of Azure ML as a server of models: what the platforms aks and managed_endpoint have in common.

Azure ML has no condition to write under: no ETag, no If-Match. One writer is kept by the endpoint's epoch tag, read right
before each write, and by reading back what was written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from node import package
from shared.azure import endpoint_metrics, ml_client, ml_codes, ml_deployments, ml_endpoints, ml_environments
from shared.azure.arm import Answer
from shared.azure.resources import tags_of
from shared.config import settings
from shared.domain.errors import ConflictError, SpecError, TransientError
from shared.domain.lease import TAG_APP, TAG_OWNER, Operation
from shared.domain.serving import (
    DeploymentLook,
    DeploymentPlan,
    DeploymentState,
    EndpointLook,
    EndpointPlan,
    MetricsQuery,
    ScoringAccess,
    ServingMetrics,
    Target,
    TrafficChange,
    at_any_time,
    serving,
)

logger = logging.getLogger(__name__)

# Where ARM names no time of its own. An endpoint is made in a minute or two, a deployment's image in ten.
ENDPOINT_POLL_S = 15.0
DEPLOYMENT_POLL_S = 20.0
TRAFFIC_POLL_S = 10.0


class OnlineServer:
    """Server of a platform over online endpoints. Stateless: everything is read from Azure."""

    def __init__(self, *, on_clusters: bool) -> None:
        self._on_clusters = on_clusters

    def read_endpoint(self, endpoint: str) -> EndpointLook:
        """Two requests: the endpoint, then its deployments."""
        seen = ml_endpoints.get_endpoint(endpoint)
        if seen.is_missing:
            return EndpointLook(exists=False, poll_after_s=seen.poll_after_s(ENDPOINT_POLL_S))
        traffic = ml_endpoints.traffic_of(seen.body)
        return EndpointLook(
            exists=True,
            state=ml_endpoints.state_of(seen.body),
            traffic=traffic,
            epoch=ml_endpoints.epoch_of(seen.body),
            scoring_uri=str(seen.body["properties"].get("scoringUri") or ""),
            deployments=tuple(
                ml_deployments.look_of(each, traffic, DEPLOYMENT_POLL_S)
                for each in ml_deployments.list_deployments(endpoint)
            ),
            tags=tags_of(seen.body),
            poll_after_s=seen.poll_after_s(ENDPOINT_POLL_S),
        )

    def begin_endpoint(self, plan: EndpointPlan) -> Operation:
        """Create it, or write the plan's epoch into the tag of the one that is there, unless it shows it already.

        One whose creation failed is sent again, as it has nothing yet that could be lost.
        """
        name = plan.endpoint
        compute = self._compute(plan.target)
        if ml_endpoints.get_endpoint(name).is_missing:
            sent = ml_endpoints.begin_put(name, ml_endpoints.endpoint_body(plan, settings(), compute))
            _log("endpoint creation begun", name, plan.run, plan.epoch, sent)
            return Operation(poll_after_s=sent.poll_after_s(ENDPOINT_POLL_S))
        seen = ml_endpoints.own_endpoint(name, settings(), epoch=plan.epoch)
        ml_endpoints.check_fits(name, seen.body, plan.target, compute)
        failed = ml_endpoints.state_of(seen.body) == "Failed"
        if ml_endpoints.epoch_of(seen.body) == plan.epoch and not failed:
            return Operation(poll_after_s=seen.poll_after_s(ENDPOINT_POLL_S))
        ml_endpoints.check_idle(name, seen.body)
        if failed and not ml_endpoints.traffic_of(seen.body):
            sent = ml_endpoints.begin_put(name, ml_endpoints.endpoint_body(plan, settings(), compute))
        else:
            sent = ml_endpoints.begin_raise(name, seen.body, plan.epoch)
        _log("endpoint taken", name, plan.run, plan.epoch, sent)
        return Operation(poll_after_s=sent.poll_after_s(ENDPOINT_POLL_S))

    def begin_deployment(self, plan: DeploymentPlan) -> Operation:
        """Look at endpoint and deployment, see to code and environment, then create. New code: one more for each file."""
        name, where = plan.name, plan.endpoint
        endpoint = ml_endpoints.own_endpoint(where, settings(), epoch=plan.epoch)
        ml_endpoints.check_fits(where, endpoint.body, plan.target, self._compute(plan.target))
        seen = ml_deployments.get_deployment(where, name)
        if not seen.is_missing:
            self._check_of_run(seen, plan)
            return Operation(poll_after_s=seen.poll_after_s(DEPLOYMENT_POLL_S))
        ml_endpoints.check_idle(where, endpoint.body)
        body = ml_deployments.deployment_body(
            plan,
            settings(),
            code_id=ml_codes.ensure_code(ml_codes.serving_files(plan.code, plan.entry)),
            script=package.SCORING_ENTRY,
            environment_id=ml_environments.serving_environment(plan.environment),
            model_id=_model_id(plan),
        )
        sent = ml_deployments.begin_create(where, name, body)
        _log("deployment begun", where, plan.run, plan.epoch, sent, deployment=name)
        return Operation(poll_after_s=sent.poll_after_s(DEPLOYMENT_POLL_S))

    def observe_deployment(self, plan: DeploymentPlan) -> DeploymentLook:
        """Two requests; a third, where it failed, to ask why."""
        seen = ml_deployments.get_deployment(plan.endpoint, plan.name)
        poll_after_s = seen.poll_after_s(DEPLOYMENT_POLL_S)
        if seen.is_missing or not ml_deployments.is_of_run(seen.body, plan.run, plan.epoch, settings()):
            return DeploymentLook(name=plan.name, state=DeploymentState.ABSENT, poll_after_s=poll_after_s)
        endpoint = ml_endpoints.get_endpoint(plan.endpoint)
        traffic = {} if endpoint.is_missing else ml_endpoints.traffic_of(endpoint.body)
        look = ml_deployments.look_of(seen.body, traffic, poll_after_s)
        if look.state is not DeploymentState.FAILED:
            return look
        code, message = ml_deployments.failure_of(seen.body)
        return look.model_copy(update={"code": code, "message": message})

    def set_traffic(self, change: TrafficChange, *, confirm: Callable[[], None] = at_any_time) -> Operation:
        """Look at endpoint and deployments, then write the map and the epoch together.

        What is read right after a change may be what was before it: the map is written again rather than believed.
        """
        name, wanted = change.endpoint, serving(change.weights)
        seen = ml_endpoints.own_endpoint(name, settings(), epoch=change.epoch)
        ml_endpoints.check_idle(name, seen.body)
        found = (ml_endpoints.traffic_of(seen.body), ml_endpoints.epoch_of(seen.body))
        if found == (wanted, change.epoch) and ml_endpoints.is_settled(seen):
            return Operation(poll_after_s=seen.poll_after_s(TRAFFIC_POLL_S))
        _check_ready(name, wanted, ml_deployments.list_deployments(name))
        body = ml_endpoints.traffic_body(seen.body, epoch=change.epoch, traffic=wanted)
        confirm()
        sent = ml_endpoints.begin_put(name, body)
        _log("traffic sent", name, change.run, change.epoch, sent, weights=wanted)
        return Operation(poll_after_s=sent.poll_after_s(TRAFFIC_POLL_S))

    def read_logs(self, endpoint: str, deployment: str, tail: int = 200) -> str:
        """One request, or two where its server has written nothing."""
        return ml_deployments.read_logs(endpoint, deployment, tail)

    def begin_deletion(self, endpoint: str, deployment: str, run: str = "") -> Operation | None:
        """Look at it, then at its traffic, then delete. Asked again while it is being deleted, nothing is sent."""
        seen = ml_deployments.get_deployment(endpoint, deployment)
        if seen.is_missing:
            return None
        target = ml_deployments.deployment_id(endpoint, deployment)
        tags = tags_of(seen.body)
        if tags.get(TAG_APP) != settings().app or (run and tags.get(TAG_OWNER) != run):
            raise ConflictError(
                f"deployment {endpoint}/{deployment} does not carry the tags of {run or 'this app'} (it has {tags}); "
                "it was left alone",
                code="NotOurs",
                target=target,
            )
        if ml_deployments.state_of(seen.body) is DeploymentState.DELETING:
            return Operation(poll_after_s=seen.poll_after_s(DEPLOYMENT_POLL_S))
        where = ml_endpoints.get_endpoint(endpoint)
        weight = 0 if where.is_missing else ml_endpoints.traffic_of(where.body).get(deployment, 0)
        if weight:
            raise ConflictError(
                f"deployment {endpoint}/{deployment} has {weight} % of the traffic; it was not deleted",
                code="HasTraffic",
                target=target,
            )
        sent = ml_deployments.begin_delete(endpoint, deployment)
        _log("deletion begun", endpoint, tags.get(TAG_OWNER, ""), 0, sent, deployment=deployment)
        return Operation(poll_after_s=sent.poll_after_s(DEPLOYMENT_POLL_S))

    def scoring_access(self, endpoint: str) -> ScoringAccess:
        """Two requests: the endpoint, and its keys or a token."""
        return ml_endpoints.access_of(
            endpoint, ml_endpoints.own_endpoint(endpoint, settings(), epoch=_ANY).body
        )

    def read_metrics(self, query: MetricsQuery) -> dict[str, ServingMetrics]:
        """Two requests to Azure Monitor. Azure's own machines answer 424 for whatever a model did not answer 200 to."""
        by = endpoint_metrics.BY_CLASS if self._on_clusters else endpoint_metrics.BY_MODEL_STATUS
        return endpoint_metrics.read(ml_endpoints.endpoint_id(query.endpoint), query, by=by)

    def _compute(self, target: Target) -> str:
        return ml_endpoints.compute_id(target) if self._on_clusters else ""

    def _check_of_run(self, seen: Answer, plan: DeploymentPlan) -> None:
        if not ml_deployments.is_of_run(seen.body, plan.run, plan.epoch, settings()):
            raise ConflictError(
                f"deployment {plan.endpoint}/{plan.name} exists without the tags of run {plan.run}, epoch {plan.epoch} "
                f"(it has {tags_of(seen.body)}); it was left alone",
                code="NotOurs",
                target=seen.body.get("id"),
            )


_ANY = 2**63  # an epoch above all: for those that only read


def _model_id(plan: DeploymentPlan) -> str:
    """The model's id in Azure ML. Raises SpecError if it was never registered there: an endpoint takes no other."""
    asset = plan.model_asset
    if not asset:
        raise SpecError(
            f"model {plan.model} is not registered in Azure ML, and an online endpoint serves no other"
        )
    if asset.startswith("azureml:") and asset.count(":") == 2:
        _, name, version = asset.split(":")
        return f"{ml_client.workspace().id}/models/{name}/versions/{version}"
    return asset


def _check_ready(endpoint: str, weights: Mapping[str, int], deployments: list[dict[str, Any]]) -> None:
    """Raises ConflictError if a name that is to have traffic is not there or failed, TransientError if not yet ready."""
    states = {each["name"]: ml_deployments.state_of(each) for each in deployments}
    for name in weights:
        state = states.get(name, DeploymentState.ABSENT)
        if state is DeploymentState.CREATING:
            raise TransientError(
                f"deployment {endpoint}/{name} is being changed: it takes no traffic yet",
                code="DeploymentBusy",
                retry_after_s=DEPLOYMENT_POLL_S,
            )
        if state is not DeploymentState.READY:
            raise ConflictError(
                f"deployment {endpoint}/{name} is {state}: it can have no traffic; nothing was changed",
                code="DeploymentNotReady",
                target=ml_deployments.deployment_id(endpoint, name),
            )


def _log(event: str, endpoint: str, run: str, epoch: int, sent: Answer, **more: object) -> None:
    correlation_id = sent.headers.get("x-ms-correlation-request-id", "")
    extra = {"endpoint": endpoint, "run": run, "epoch": epoch, "correlation_id": correlation_id, **more}
    logger.info(event, extra=extra)
