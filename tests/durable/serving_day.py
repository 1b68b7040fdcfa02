"""A day on which an endpoint serves: its record behind the real fence, its map, its deployments and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import yaml

from shared.domain import fence, tending
from shared.domain.audit import verify_chain
from shared.domain.deploy import (
    Approval,
    ApprovalLook,
    ApprovalRequest,
    CommitRequest,
    DeploymentRef,
    DeployOutcome,
    DeployRequest,
    DeployState,
    EndpointRecord,
    FreeRequest,
    Hold,
    HoldRequest,
    LastGood,
    Lineage,
    ProbeKind,
    ProbeReport,
    ProbeRequest,
)
from shared.domain.deploy_plan import PlanRequest, PricedPlan
from shared.domain.deployment import Deployment
from shared.domain.errors import ConflictError
from shared.domain.judging import Command, Observation, StepQuery
from shared.domain.lease import TAG_DEADLINE, TAG_MANAGED_BY, TAG_OWNER, Operation
from shared.domain.notices import Told
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.serving import (
    Deletion,
    DeletionRequest,
    DeploymentLook,
    DeploymentPlan,
    DeploymentState,
    EndpointLook,
    ServingLogs,
    ServingMetrics,
    TargetLook,
    TrafficChange,
    serving,
)
from shared.domain.tending import Chore, Chores
from shared.domain.wire import Wire
from shared.domain.workload import parse_workload
from shared.durable import contracts
from tests.durable.night import Night
from tests.durable.stage import Stage, stage

RUN = "deploy-flights-live-manual-0123456789abcdef"
MODEL = ModelRef(
    name="m", version="2", flavor="sklearn", container="models", prefix="m/2/", file="model.joblib", sha256="b" * 64
)  # fmt: skip
BLUE = DeploymentRef(
    name="d00000001", model="m:1", sha256="a" * 64, run="deploy-flights-live-manual-" + "1" * 16
)
URI = "https://flights-live.westeurope.inference.ml.azure.com/score"


def request(**changes: Any) -> DeployRequest:
    """Three steps that bake two minutes each; `changes` are merged into the declaration, section by section."""
    declared: dict[str, Any] = {
        "kind": "Deployment",
        "name": "flights-live",
        "model": {"name": "m"},
        "target": {"platform": "aks", "endpoint": "flights-live", "compute": "aks-prod"},
        "rollout": {
            "steps": [5, 50, 100],
            "bake": "PT2M",
            "inconclusiveAfter": "PT7M",
            "stageDeadline": "PT10M",
        },
        "approval": {"required": False, "timeout": "PT30M"},
    }
    for section, values in changes.items():
        declared[section] = {**declared.get(section, {}), **values} if isinstance(values, dict) else values
    workload = parse_workload(yaml.safe_dump(declared), source="test", platforms=("dsvm",))
    assert isinstance(workload, Deployment)
    return DeployRequest(
        run=RUN, slot=RUN.removeprefix("deploy-flights-live-"), workload=workload, version="2", started_by="test",
        requested_by="ann",
    )  # fmt: skip


class ServingDay(Night):
    """What happens is changed by setting attributes; `maps` are the maps that were taken, in order.

    `stop_in` puts `stop` on record while that step is under way for the first time. Reads show a new map after `lag`
    more reads.
    """

    now: Callable[[], datetime] = staticmethod(lambda: datetime(2026, 3, 1, tzinfo=UTC))

    def __init__(self, *, live: bool = True) -> None:
        super().__init__()
        self.record = EndpointRecord(endpoint="flights-live", platform="aks", live=BLUE if live else None)
        self.exists = live
        self.traffic: dict[str, int] = {BLUE.name: 100} if live else {}
        self.deployments = {BLUE.name: DeploymentState.READY} if live else {}
        self.epoch = 0
        self.maps: list[dict[str, int]] = []
        self.lag = 0
        self.green_state = DeploymentState.READY
        self.prices: dict[str, float] = {}  # by size
        self.p95_at: dict[str, float] = {}  # by size, in milliseconds, of one request at a time
        self.states: dict[str, DeploymentState] = {}  # what becomes of a deployment, by its name
        self.errors_at: dict[int, float] = {}  # green's share of 5xx by its weight
        self.tags = {TAG_MANAGED_BY: "muster", TAG_DEADLINE: "2026-03-01T12:00:00Z", TAG_OWNER: RUN}
        self.silent = False  # no metrics at all
        self.failing_probe = ""
        self.answer: Literal["approve", "reject", ""] = (
            ""  # what a person says when asked: approve, reject, or nothing
        )
        self.stop, self.stop_in = "cancel", ""
        self.holds_writes: Callable[[TrafficChange], bool] = lambda _: False
        self._stopped = False
        self._asked: dict[int, ApprovalRequest] = {}
        self._shown: list[dict[str, int]] = []

    def __call__(self, step: str, payload: Any) -> Wire:
        self._stopped |= step == self.stop_in
        return super().__call__(step, payload)

    def _change(self, record: EndpointRecord) -> Wire:
        self.record = record
        return record

    def hold_endpoint(self, payload: Any) -> Wire:
        given: Hold = fence.hold(self.record, HoldRequest.model_validate(payload))
        self.record = given.record
        return given

    def save_last_good(self, payload: Any) -> Wire:
        return self._change(fence.save_last_good(self.record, LastGood.model_validate(payload)))

    def commit_rollout(self, payload: Any) -> Wire:
        return self._change(fence.commit(self.record, CommitRequest.model_validate(payload)))

    def free_endpoint(self, payload: Any) -> Wire:
        moved = fence.free(self.record, FreeRequest.model_validate(payload))
        return self._change(moved.model_copy(update={"commands": ("az",)} if moved.frozen else {}))

    def read_model(self, _: Any) -> Wire:
        return MODEL

    def check_lineage(self, _: Any) -> Wire:
        return Lineage(ok=True, asset="azureml:m:2", run="train-m")

    def check_target(self, _: Any) -> Wire:
        return TargetLook(ready=True)

    def read_endpoint(self, _: Any) -> Wire:
        looks = tuple(
            DeploymentLook(name=name, state=state, tags=self.tags, weight=self.traffic.get(name, 0))
            for name, state in self.deployments.items()
        )  # fmt: skip
        return EndpointLook(
            exists=self.exists, state="Succeeded" if self.exists else "", traffic=self.traffic, epoch=self.epoch,
            scoring_uri=URI, deployments=looks,
        )  # fmt: skip

    def begin_endpoint(self, payload: Any) -> Wire:
        self.exists, self.epoch = True, payload["epoch"]
        return Operation(poll_after_s=15)

    def plan_deployment(self, payload: Any) -> Wire:
        asked = PlanRequest.model_validate(payload)
        workload = asked.request.workload
        plan = DeploymentPlan(
            target=workload.target, name=asked.name or asked.request.green, run=asked.request.run, epoch=asked.epoch,
            deadline=asked.deadline, model=asked.model, resources=workload.resources,
        )  # fmt: skip
        size = workload.resources.instance_type or "Standard_DS2_v2"
        price = self.prices.get(size, 0.2)
        return PricedPlan(plan=plan, offer=Offer(size=size, region="westeurope", price_usd_per_hour=price))

    def begin_deployment(self, payload: Any) -> Wire:
        self.deployments.setdefault(payload["name"], self.states.get(payload["name"], self.green_state))
        return Operation(poll_after_s=20)

    def observe_deployment(self, payload: Any) -> Wire:
        state = self.deployments.get(payload["name"], DeploymentState.ABSENT)
        failed = state is DeploymentState.FAILED
        return DeploymentLook(
            name=payload["name"], state=state, code="ImageBuildFailure" if failed else "",
            message="pip could not install" if failed else "",
        )  # fmt: skip

    def read_serving_logs(self, _: Any) -> Wire:
        return ServingLogs(text="ERROR: no such package")

    def run_probe(self, payload: Any) -> Wire:
        probe = ProbeRequest.model_validate(payload)
        kind, load = probe.kind, probe.request.workload.tests.load
        if probe.folder == "profile" and kind is ProbeKind.LOAD:
            p95 = (
                self.p95_at.get(probe.request.workload.resources.instance_type or "", 40.0) * load.concurrency
            )
            ok = p95 <= load.p95.total_seconds() * 1000
            return ProbeReport(kind=kind, ok=ok, reason="" if ok else "too slow", requests=load.requests,
                               p50_ms=p95 / 2, p95_ms=p95, p99_ms=p95, per_s=1000 * load.concurrency / p95,
                               error_rate=0.0)  # fmt: skip
        ok = kind != self.failing_probe
        return ProbeReport(kind=kind, ok=ok, reason="" if ok else "7 of 100 answers are wrong", requests=100)

    def ask_approval(self, payload: Any) -> Wire:
        asked = ApprovalRequest.model_validate(payload)
        self._asked[asked.number] = asked
        return self._nothing(payload)

    def read_approval(self, payload: Any) -> Wire:
        asked = self._asked.get(payload["number"])
        return ApprovalLook(
            approval=self._decision(asked) if asked else None,
            cancel_requested=self._stopped and self.stop == "cancel",
            rollback_requested=self._stopped and self.stop == "rollback",
            by="bob" if self._stopped else "",
        )

    def _decision(self, asked: ApprovalRequest) -> Approval | None:
        if not self.answer:
            return None
        return Approval(decision=self.answer, by="bob", at=self.now(), digest=asked.digest)

    def set_traffic(self, payload: Any) -> Wire:
        change = TrafficChange.model_validate(payload)
        fence.check_holder(self.record, change.run, change.epoch)
        if missing := [name for name in serving(change.weights) if name not in self.deployments]:
            raise ConflictError(f"{missing} is not there", code="BadArgument")
        if not self.holds_writes(change):
            self.maps.append(serving(change.weights))
            self._shown = [self.traffic] * self.lag
            self.traffic, self.epoch = serving(change.weights), change.epoch
        return Operation(poll_after_s=10)

    def begin_deletion(self, payload: Any) -> Wire:
        name = DeletionRequest.model_validate(payload).deployment
        if self.traffic.get(name):
            raise ConflictError("it has traffic", code="HasTraffic")
        state = self.deployments.pop(name, None)
        return Deletion(gone=state is None, poll_after_s=20)

    def read_step(self, payload: Any) -> Wire:
        query, now = StepQuery.model_validate(payload), self.now()
        shown = self._shown.pop() if self._shown else self.traffic
        decided = (
            self._decision(self._asked[query.number])
            if query.number in self._asked and query.number
            else None
        )
        command = Command.NONE if decided is None else Command(decided.decision)
        if self._stopped:
            command = Command.CANCEL if self.stop == "cancel" else Command.ROLL_BACK
        return Observation(
            now=now,
            weights=shown if self.exists else None,
            endpoint_exists=self.exists,
            green=self.deployments.get(query.green, DeploymentState.ABSENT),
            blue=self.deployments.get(query.blue, DeploymentState.ABSENT)
            if query.blue
            else DeploymentState.READY,
            green_metrics=self._metrics(query, query.green),
            blue_metrics=self._metrics(query, query.blue) if query.blue else None,
            command=command,
            by="bob" if command else "",
            number=query.number,
            fenced=(self.record.holder, self.record.epoch) != (query.run, query.epoch),
        )

    def _metrics(self, query: StepQuery, name: str) -> ServingMetrics | None:
        weight, minutes = self.traffic.get(name, 0), (self.now() - query.since).total_seconds() / 60
        if self.silent or minutes <= 0 or not weight:
            return None if self.silent else ServingMetrics()
        requests = 100 * weight * minutes
        share = self.errors_at.get(weight, 0.0) if name == query.green else 0.0
        return ServingMetrics(
            requests=requests,
            errors_5xx=requests * share,
            p50_ms=20,
            p95_ms=40,
            newest=self.now(),
            minutes=int(minutes),
        )

    def publish_notice(self, _: Any) -> Wire:
        return Told(sent=True)

    record_step = record_deployment = record_profile = Night._nothing

    def list_lost_rollouts(self, payload: Any) -> Wire:
        looked = EndpointLook.model_validate(self.read_endpoint(payload))
        over = set(payload["owners_over"])
        chosen = tending.choose_looks([self.record], over=over, now=self.now())
        found = [
            each for record in chosen for each in tending.chores(record, looked, over=over, now=self.now())
        ]
        return Chores(chores=tuple(found), now=self.now())

    def retire_deployment(self, payload: Any) -> Wire:
        chore = Chore.model_validate(payload)
        fence.check_free(self.record, chore.epoch)
        self.record = fence.forget(self.record, chore.deployment)
        return self.begin_deletion({**payload, "run": ""})


@contextmanager
def on_stage(day: ServingDay) -> Iterator[Stage]:
    """The stage of a day that knows the stage's time."""
    with stage(day) as made:
        day.now = made._clock.now
        yield made


def end_of(azure: Stage, day: ServingDay, **changes: Any) -> DeployOutcome:
    """What the run put on record as its end, however it was: maps were whole, nothing is left that is not named."""
    asked = request(**changes)
    was_live = day.record.live is not None
    azure.run(contracts.DEPLOY_MODEL, asked, RUN)
    (outcome,) = azure.of(contracts.RECORD_DEPLOYMENT)
    assert verify_chain(day.audit) == []
    assert all(sum(each.values()) == 100 for each in day.maps if each or was_live)
    history = azure.history(RUN)
    assert len(history.events) < 2000 and history.largest_payload < 16 * 1024
    if outcome.state is not DeployState.FROZEN:
        assert day.record.holder is None
    if outcome.state not in (DeployState.FROZEN, DeployState.COMPLETED):
        assert day.traffic == ({BLUE.name: 100} if was_live else {})
        assert day.record.live == (BLUE if was_live else None)
        kept = {each.deployment.name for each in day.record.kept}
        assert day.deployments.keys() - kept == ({BLUE.name} if was_live else set())
    return outcome
