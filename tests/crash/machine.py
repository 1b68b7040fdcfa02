"""The machine: one run of one scenario, from an evening's quiet to the next quiet, decided by a plan and nothing else.

Everything that could happen next has a moment on the virtual clock; the machine goes to the earliest and lets it happen.
Each effect on the world outside a process (a request answered, a turn committed, an answer stored) is a *point*; at
each the plan may crash something. The same scenario and plan give the same run, point by point.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from durabletask.internal import orchestrator_service_pb2 as pb

from localdev.runner.hub import TaskHub, WorkSession
from tests.crash import app
from tests.crash.agents import AgentRun, WorkerDied
from tests.crash.clock import VirtualClock
from tests.crash.cloud import AnswerLost, Cloud
from tests.crash.histories import History, ended_passes
from tests.crash.plans import Plan, Verdict
from tests.crash.points import Point, Work, kind_of, label_of, next_minute
from tests.crash.rest import unfinished
from tests.crash.scenario import Scenario
from tests.crash.storage import Answered
from tests.crash.strands import Killed, Strand
from tests.crash.wire import no_answer

RESTART_S, USER_TRIES_AGAIN_S = 5.0, 20.0
HANG_S = 600.0  # host.json's functionTimeout: Azure ends a process in which anything runs for longer
STALL_S = 30.0  # the hub's visibility timeout: whose worker is silent for longer is given to another one
APP_REQUEST_S, AGENT_REQUEST_S, DISPATCH_S = 0.05, 0.6, 0.01
_STEPS = 200_000


class Stuck(AssertionError):
    """The run did not come to rest."""


class Machine:
    """Runs `scenario` under `plan`. `folder` holds the hub's file."""

    def __init__(self, scenario: Scenario, plan: Plan, folder: Path) -> None:
        self.scenario, self.plan = scenario, plan
        self.clock = VirtualClock()
        self.cloud = Cloud(self.clock, self._start_agent, folder / "machines")
        self.points: list[Point] = []
        self.reaper_histories: list[History] = []
        self.crashes = self.stalls = 0
        self._quiet: set[str] = set()  # timers that fired when all was over, and found nothing to do
        self._hub_path = folder / "hub.sqlite"
        self._acts = list(scenario.acts)
        self._strands: list[Strand] = []  # of the app's process
        self._stalling: list[Strand] = []
        self._zombies: list[Strand] = []  # of workers that were out of sight for too long, and still go on
        self._agents: list[AgentRun] = []
        self._asked: dict[str, Callable[[], None]] = {}
        self._restarted: list[Callable[[], None]] = []
        self._dead = False
        self._down_until = 0.0
        self._hub: TaskHub | None = None
        self._session: WorkSession
        self.started, self._timers = self.clock.time(), dict[str, float]()
        scenario.land(self.cloud.storage.put)
        for region, cores in scenario.quotas.items():
            self.cloud.world.quotas[region]["standardDSv5Family"] = cores

    @property
    def hub(self) -> TaskHub:
        assert self._hub is not None
        return self._hub

    def run(self) -> None:
        """Until everything is at rest. Raises Stuck if it does not come to that."""
        self.scenario.furnish(self)
        self._set_off()
        self._open()
        for _ in range(_STEPS):
            if len(self._quiet) == len(self._timers) and not self._strands and self._is_hub_idle():
                return
            self._step()
            if self.clock.time() - self.started > self.scenario.horizon.total_seconds():
                break
        raise Stuck(f"not at rest at {self.clock.now()}: {self._why_not_at_rest()}")

    def _set_off(self) -> None:
        for fault in (*self.scenario.faults, *self.plan.faults(self.scenario)):
            self.cloud.world.faults.add(fault)
        self.started = self.clock.time()
        self._timers = {"reap": next_minute(self.started) - 30, "tick": next_minute(self.started)}

    def close(self) -> None:
        for strand in (*self._strands, *self._zombies, *(agent.strand for agent in self._agents)):
            strand.kill()
        if self._hub:
            self._hub.close()

    # what a user does

    def user(
        self,
        name: str,
        *,
        who: str = "ann",
        body: Callable[[], Any] | None = None,
        key: str = "",
        **route: str,
    ) -> None:
        """Call an HTTP function of the app, as a user would: again while the app has no good answer to give."""
        client = app.HubClient(lambda: self.hub, self.visit)
        headers = {**app.principal(who), **({"Idempotency-Key": key} if key else {})}

        def call() -> None:
            while True:
                asked = json.dumps(body()).encode() if body else b""
                if app.run_http(name, client, asked, headers, **route).status_code < 500:
                    return
                self.sleep(USER_TRIES_AGAIN_S)

        self.asks(name, call)

    def asks(self, name: str, call: Callable[[], None]) -> None:
        """Have somebody do `call`, and again if the app dies before it has returned."""
        self._asked[f"trigger {name}"] = lambda: self.asks(name, call)
        self._spawn(Strand(f"trigger {name}", call))

    # effects

    def exchange(self, request: requests.PreparedRequest) -> Answered:
        """One request of the strand that runs: it takes effect, then the plan decides, then others have their turn."""
        strand = Strand.current
        label = label_of(request)
        if label is None or strand is None:
            return self.cloud.answer(request, strand)
        if strand.dying:
            raise Killed(strand.name)
        if self.plan.drops_request(self, strand.name, label):
            self._wait(strand)
            raise no_answer(request)

        def effect() -> Answered | None:
            try:
                return self.cloud.answer(request, strand)
            except AnswerLost:
                return None

        answered: Answered | None = self.visit(label, effect)
        if answered is None or self.plan.drops_answer(self, strand.name, label):
            raise no_answer(request)
        return answered

    def visit(self, label: str, effect: Callable[[], Any]) -> Any:
        """Let `effect` happen on behalf of the strand that runs, reach its point, and give way."""
        strand = Strand.current
        assert strand is not None
        if strand.dying:
            raise Killed(strand.name)
        result = effect()
        self._reach(strand, label)
        self._wait(strand)
        return result

    def sleep(self, seconds: float) -> None:
        """An SDK waits inside its process."""
        strand = Strand.current
        if strand is None or strand.dying:
            return
        strand.wake = self.clock.time() + seconds
        strand.pause()

    def _wait(self, strand: Strand) -> None:
        if strand in self._stalling:
            self._stalling.remove(strand)
            strand.wake = self.clock.time() + self.scenario.stall_s
            strand.pause()
            return
        usual = AGENT_REQUEST_S if kind_of(strand) == "agent" else APP_REQUEST_S
        strand.wake = self.clock.time() + self.plan.latency(self, strand.name, usual)
        strand.pause()

    def _reach(self, strand: Strand, label: str) -> None:
        """The point after an effect of a strand. Raises what the plan's verdict does to it."""
        kind = kind_of(strand)
        match self._point(kind, f"{strand.name} | {label}"):
            case Verdict.DIE if kind != "agent":
                self._dead = True
                raise Killed(strand.name)
            case Verdict.STALLS if kind == "activity":
                self._stalling.append(strand)
            case Verdict.WORKER_DIES if kind == "agent":
                raise WorkerDied(label)
            case Verdict.AGENT_DIES if kind == "agent":
                raise Killed(strand.name)
            case Verdict.MACHINE_LOST if kind == "agent":
                self.cloud.lose(strand.token)  # with everything on it, before the agent's next request

    def _point(self, kind: str, label: str) -> Verdict:
        point = Point(len(self.points), kind, label, self.clock.time())
        self.points.append(point)
        for entry in list(self._acts):
            if fnmatch.fnmatchcase(label, entry[0]):
                self._acts.remove(entry)
                entry[1](self)
        return self.plan.at(self, point)

    # one step

    def _step(self) -> None:
        if self._dead:
            self._crash()
        self.cloud.world.scheduler.run_due()
        for agent in self._agents:
            agent.reap()
        if self._hub is None:
            if self.clock.time() < self._down_until:
                self._go_on()
                return
            self._open()
        if (timer := self._next_timer()) is not None and timer <= self.clock.time():
            self.hub._timers._fire()
        if self._hand_out():
            return
        self._go_on()

    def _hand_out(self) -> bool:
        """Take one item from the hub. True if there was one."""
        item = self._session.next(0)
        if item is None:
            return False
        if item.HasField("orchestratorRequest"):
            self._turn(item)
            return True
        request = item.activityRequest
        name = f"activity {request.name} of {request.orchestrationInstance.instanceId}"
        strand = Strand(name, lambda: app.run_activity(request))
        strand.token = Work(item)
        if self._point("activity", f"{name} | before") is Verdict.DIE:
            self._dead = True
            return True
        self._spawn(strand, DISPATCH_S)
        return True

    def _turn(self, item: pb.WorkItem) -> None:
        request = item.orchestratorRequest
        label = f"turn of {request.instanceId}"
        response = app.run_turn(request)
        response.instanceId, response.completionToken = request.instanceId, item.completionToken
        if self._point("turn", f"{label} | before commit") is Verdict.DIE:
            self._dead = True
            return
        self._session.complete_orchestrator(response)
        self._dead = self._point("turn", f"{label} | after commit") is Verdict.DIE

    def _go_on(self) -> None:
        """Go to the earliest moment at which something happens, and let it happen."""
        moments: list[tuple[float, int, Any]] = [(s.wake, n, s) for n, s in enumerate(self._all_strands())]
        if (step := self.cloud.next_step()) is not None:
            moments.append((step, -3, None))
        if self._hub is None:
            moments.append((self._down_until, -2, None))
        else:
            if (timer := self._next_timer()) is not None:
                moments.append((timer, -2, None))
            moments.append((min(self._timers.values()), -1, "timer"))
        moment, _, what = min(moments, key=lambda each: each[:2])
        self.clock.move_to(moment)
        if isinstance(what, Strand):
            self._resume(what)
        elif what == "timer":
            self._fire()

    def _next_timer(self) -> float | None:
        moment = self.hub._timers._next_moment()
        return None if moment is None else moment / 1_000_000

    def _all_strands(self) -> Iterator[Strand]:
        yield from self._strands
        yield from self._zombies
        yield from (a.strand for a in self._agents if not a.strand.over)

    def _resume(self, strand: Strand) -> None:
        if strand.hangs:
            self._dead = True
            return
        strand.resume()
        if strand in self._zombies:
            self._resumed_zombie(strand)
            return
        if not strand.over and isinstance(strand.token, Work) and strand.wake > self.clock.time() + STALL_S:
            self._lose_sight_of(strand)
        if not strand.over or kind_of(strand) == "agent":
            return
        # else the crash takes it away, and what a user asked is asked again
        if not isinstance(strand.error, Killed):
            self._strands.remove(strand)
        if self._dead or not isinstance(strand.token, Work):
            if isinstance(strand.error, Exception):
                self.plan.trigger_failed(strand.name, strand.error)
            return
        self._answer(strand)
        self._dead = self._point("activity", f"{strand.name} | answered") is Verdict.DIE

    def _lose_sight_of(self, strand: Strand) -> None:
        """The hub takes the worker for dead and gives its item to another; the worker only sleeps."""
        self._strands.remove(strand)
        self._zombies.append(strand)
        self.stalls += 1
        self._session.abandon(strand.token.item)

    def _resumed_zombie(self, strand: Strand) -> None:
        """It answers late, as if nothing had been; a crash of the host was another host's."""
        self._dead = False if isinstance(strand.error, Killed) else self._dead
        if not strand.over:
            return
        self._zombies.remove(strand)
        if self._hub is not None and not isinstance(strand.error, Killed):
            self._answer(strand)

    def _answer(self, strand: Strand) -> None:
        self._session.complete_activity(app.activity_response(strand.token.item, strand.result, strand.error))

    def _fire(self) -> None:
        moment, name = min((moment, name) for name, moment in self._timers.items())
        self._quiet = {*self._quiet, name} if not self._why_not_at_rest() else set()
        self._timers[name] = moment + self._period_s(name)
        if name == "reap":
            self.reaper_histories += ended_passes(self.hub)
        client = app.HubClient(lambda: self.hub, self.visit)
        due = datetime.fromtimestamp(moment, UTC)
        self._spawn(Strand(f"trigger {name}", lambda: app.run_timer(name, due, client)))

    def _period_s(self, name: str) -> float:
        """A minute, as deployed, where it matters; five where a tick could only find nothing, which is dear to run."""
        idle = self._is_run(over=False) if name == "tick" else not self._is_run(over=True)
        hangs = any(strand.wake > self.clock.time() + STALL_S for strand in self._strands)
        return 300 if idle and not hangs else 60

    def _spawn(self, strand: Strand, delay_s: float = 0.0) -> None:
        """It may hang before it does anything, in a process that lives: nobody else is given its item meanwhile."""
        hangs_s = self.plan.latency(self, strand.name, delay_s)
        strand.hangs = hangs_s > HANG_S
        strand.wake = self.clock.time() + min(hangs_s, HANG_S)
        self._strands.append(strand)

    def _start_agent(self, vm_id: str, reference: dict[str, Any], environment: Mapping[str, str]) -> AgentRun:
        name = f"agent {len(self._agents)} {reference['blob'].rpartition('/')[2]}"
        agent = AgentRun(name, reference, self.clock.time, environment)
        agent.strand.wake = self.clock.time() + AGENT_REQUEST_S
        agent.strand.token = vm_id
        self._agents.append(agent)
        return agent

    # crashes

    def _open(self) -> None:
        self._hub = TaskHub.open(self._hub_path, clock=self.clock, max_deliveries=1000)
        self._session = self._hub.connect("machine")
        while self._restarted:
            self._restarted.pop(0)()

    def _crash(self) -> None:
        """SIGKILL of the whole host: its work in hand, its memory and its caches are gone; the file stays."""
        self._dead = False
        self.crashes += 1
        strands, self._strands = self._strands, []
        for strand in strands:
            strand.kill()
        self._restarted += [self._asked[s.name] for s in strands if s.name in self._asked]  # users ask again
        assert self._hub is not None
        self._hub.store.close()  # before its sessions are: they must not hand anything back
        self._hub.close()
        self._hub = None
        self._down_until = self.clock.time() + RESTART_S
        app.forget()

    # rest

    def _is_run(self, *, over: bool) -> bool:
        root = self.hub.get_instance(self.scenario.run, payloads=False) if self._hub else None
        return root is not None and root.status.is_final == over

    def _why_not_at_rest(self) -> str:
        if self._hub is None:
            return "the app is down"
        if not self._is_run(over=True):
            return "the run is not over"
        if at_work := [*self._strands, *self._zombies]:
            return f"{at_work[0].name} is at work"
        return unfinished(self.cloud) or self.scenario.unrest(self)

    def _is_hub_idle(self) -> bool:
        return self._hub is not None and not self.hub.query(statuses=(0, 6, 7))[0]
