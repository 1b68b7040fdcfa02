"""Everything that happens at the endpoints of the test world, at the same time, each story in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from localdev.demo.deploy import target_of
from localdev.demo.load import Load
from localdev.demo.pace import Pace
from shared.azure import arm
from shared.azure.ml_client import ML_API
from tests.e2e.rollouts import BAD, FIRST, OTHERS, PATIENT, RATES, Bad
from tests.support.deploy_checker import DEPLOYMENT, accepted
from tests.support.deployments import ask, calmly, decide, finish, post, put_version, rows
from tests.support.estate import SPEED, Estate, Ran

ML = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
SHIFT = f"{ML}/traffic/write"
PATIENCE_S = 300
FIRST_RATE = 2.0
POISON = 8  # one row in so many has a negative distance


@dataclass
class Campaign:
    """What came of it: runs by the name of the model or the story, and the client's report by endpoint."""

    here: Estate
    folder: Path
    runs: dict[str, Ran] = field(default_factory=dict)
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)

    def go_live(self, endpoints: list[str]) -> None:
        """Version 1 everywhere: there is nothing to go back to, so each waits for somebody's word, and is judged too."""
        for endpoint in endpoints:
            put_version(self.here, f"{endpoint}-model", "1", **FIRST.get(endpoint, {}))
        asked = {endpoint: ask(self.here, endpoint, "1") for endpoint in endpoints}
        runs = {endpoint: asked[endpoint] for endpoint in sorted(asked, key=lambda each: each in FIRST)}
        for endpoint, run in runs.items():
            if endpoint in FIRST:  # sizes are tried first: the others' approvers do not wait so long
                calmly(partial(self.deployments, endpoint), f"a candidate of {endpoint}")
            else:
                calmly(partial(self._is_asking, run), f"{run.id} to ask")
        targets = [target_of(self.here.world, endpoint, FIRST_RATE) for endpoint in endpoints]
        with Load(targets, rows(), folder=self.folder / "first", environment=self.here.world.environment):
            for run in runs.values():
                self._decide(run, "approve")
            for endpoint, run in runs.items():
                self.runs[f"{endpoint} 1"] = finish(self.here, run, PATIENCE_S)
                assert run.outcome["state"] == "Completed", run.outcome

    def run(self) -> None:
        """First the good model under a heavy load, beside those that get no traffic; then all the others."""
        lanes: list[Callable[[], object]] = [
            *(partial(self._lane, f"lane-{letter}") for letter in "abc"),
            self._quiet,
        ]
        self._together(["good"], [self._good, *lanes])
        others = [endpoint for endpoint in RATES if endpoint != "good"]
        bad = [bad for bad in BAD if bad.endpoint in RATES]
        stories = [self._late_fault, self._sized, self._raced, self._deleted, self._conflicted, self._frozen]
        self._together(others, [*stories, *(partial(self._bad, each) for each in bad)])

    def _together(self, endpoints: list[str], stories: Sequence[Callable[[], object]]) -> None:
        """Stories at the same time, while the endpoints are asked at their rates."""
        targets = [target_of(self.here.world, endpoint, RATES[endpoint]) for endpoint in endpoints]
        folder = self.folder / endpoints[0]
        with (
            Load(targets, rows(), folder=folder, environment=self.here.world.environment) as load,
            Pace(self.here.world, fastest=SPEED),
        ):
            calmly(lambda: load.report(endpoints[0])["answered"] > 10, "the client's first answers")
            with ThreadPoolExecutor(len(stories)) as pool:
                for story in [pool.submit(story) for story in stories]:
                    story.result()
            load.stop()
            self.clients |= {endpoint: load.report(endpoint) for endpoint in endpoints}

    def _bad(self, bad: Bad) -> Ran:
        run = self._begin(bad)
        return finish(self.here, run, PATIENCE_S)

    def _begin(self, bad: Bad) -> Ran:
        model = f"{bad.endpoint}-model"
        put_version(self.here, model, bad.version, golden=bad.golden, promised=bad.promised, **bad.deeds)
        if bad.endpoint.endswith("-metrics"):
            preset = "metrics-missing" if bad.name == "no metrics" else "metrics-stale"
            self._fault(bad.endpoint, preset=preset)
        run = self.runs[bad.name] = ask(self.here, bad.endpoint, bad.version)
        return run

    def _lane(self, endpoint: str) -> None:
        """One bad model after the other: each finds the endpoint as the one before found it."""
        for bad in BAD:
            if bad.endpoint == endpoint:
                self._bad(bad)
        if endpoint == "lane-a":
            self._image_fails()

    def _image_fails(self) -> None:
        self._fault(
            "lane-a", operation=f"{ML}/deployments/write", kind="async_failure", code="ImageBuildFailure",
            message="Failed building the environment.", log="ERROR: No matching distribution found for nowhere==1",
        )  # fmt: skip
        put_version(self.here, "lane-a-model", "5")
        self.runs["image"] = finish(self.here, ask(self.here, "lane-a", "5"), PATIENCE_S)

    def _good(self) -> None:
        """Asked for twice with one key, once more by another while it is under way, approved by somebody else."""
        put_version(self.here, "good-model", "2", shape="a little other")
        run = self.runs["good"] = ask(self.here, "good", "2", key="once", who="chief")
        body: dict[str, Any] = {"workload": "good", "model": {"version": "2"}}
        self.answers["again"] = post(self.here, "deployments", "chief", body, key="once")
        self.answers["other body"] = post(
            self.here, "deployments", "chief", {**body, "reason": "other"}, key="once"
        )
        self.answers["busy"] = post(self.here, "deployments", "default", body, key="mine")
        self.answers["own word"] = decide(self.here, run, "approve", "chief")
        self._decide(run, "approve")
        finish(self.here, run, PATIENCE_S)

    def _decide(self, run: Ran, decision: str, number: int = 0) -> None:
        status, answer = decide(self.here, run, decision, number=number)
        assert status == 200, answer

    def _is_asking(self, run: Ran) -> bool:
        return bool(self.here.state.get_blob_client(f"deployments/{run.id}/approval-request.json").exists())

    def _quiet(self) -> None:
        """Nobody calls: a person lets it go on once, and then it asks again."""
        put_version(self.here, "quiet-model", "2")
        run = self.runs["quiet"] = ask(self.here, "quiet", "2")
        self._decide(run, "approve", number=1)
        self._decide(run, "reject", number=2)
        finish(self.here, run, PATIENCE_S)

    def _late_fault(self) -> None:
        """Clients begin to send what the model cannot take when it has a quarter of the traffic."""
        run = self._begin(OTHERS[0])
        self._until_share("late-fault", 25)
        sick = {**rows(), "data": [[-1.0 if n % POISON == 0 else 100.0, n % 24] for n in range(5 * POISON)]}
        target = target_of(self.here.world, "late-fault", 2 * RATES["late-fault"])
        with Load([target], sick, folder=self.folder / "sick", environment=self.here.world.environment):
            finish(self.here, run, PATIENCE_S)

    def _sized(self) -> None:
        """Clients send bad bodies all the way."""
        put_version(self.here, "sized-model", "2", **PATIENT)
        bad = {**rows(), "data": [["far", n % 24] for n in range(24)]}
        target = target_of(self.here.world, "sized", RATES["sized"])
        with Load([target], bad, folder=self.folder / "bad", environment=self.here.world.environment) as load:
            self.runs["sized"] = finish(self.here, ask(self.here, "sized", "2"), PATIENCE_S)
            load.stop()
            self.clients["sized, bad bodies"] = load.report("sized")

    def deployments(self, endpoint: str) -> dict[str, dict[str, Any]]:
        """What is there now, by name."""
        found = self.here.world.control.resources(DEPLOYMENT)
        return {each["id"].split("/")[-1]: each for each in found if each["id"].split("/")[-3] == endpoint}

    def _raced(self) -> None:
        """Two people, two versions, one endpoint, one moment."""
        for version in ("2", "3"):
            put_version(self.here, "raced-model", version)
        with ThreadPoolExecutor(2) as pool:
            asked = [
                pool.submit(
                    post, self.here, "deployments", who, {"workload": "raced", "model": {"version": version}}
                )
                for who, version in (("default", "2"), ("chief", "3"))
            ]
            answers = sorted((each.result() for each in asked), key=lambda answer: answer[0])
        self.answers |= {"race won": answers[0], "race lost": answers[1]}
        self.runs["raced"] = finish(self.here, Ran(answers[0][1]["id"], ""), PATIENCE_S)

    def _deleted(self) -> None:
        """Somebody deletes the endpoint while a rollout has it."""
        put_version(self.here, "deleted-model", "2")
        run = self.runs["deleted"] = ask(self.here, "deleted", "2")
        self._until_share("deleted", 10)
        workspace = self.here.world.environment[
            "MUSTER_ML_WORKSPACE"
        ]  # not by azure-ai-ml: it polls as it likes
        path = f"{workspace}/onlineEndpoints/deleted"
        arm.request("DELETE", path, api_version=ML_API, target="delete the endpoint")
        finish(self.here, run, PATIENCE_S)

    def _conflicted(self) -> None:
        """Azure is busy with the endpoint, then loses its answer: the map is read again, and converges."""
        put_version(self.here, "conflicted-model", "2")
        self._fault("conflicted", operation=SHIFT, kind="status", status=409, code="Conflict", times=2)
        self._fault("conflicted", operation=SHIFT, kind="lost_response", nth=4)
        self.runs["conflicted"] = finish(self.here, ask(self.here, "conflicted", "2"), PATIENCE_S)

    def _frozen(self) -> None:
        """The traffic cannot be taken back until a person has looked."""
        run = self._begin(OTHERS[1])
        self._until_share("frozen", 10)
        self._fault("frozen", operation=SHIFT, kind="status", status=500, code="InternalServerError", times=0)
        finish(self.here, run, PATIENCE_S)

    def _until_share(self, endpoint: str, share: int) -> None:
        calmly(
            lambda: any(share in event["traffic"].values() for event in accepted(self.here, endpoint)),
            f"{endpoint} at {share} %",
        )

    def _fault(self, endpoint: str, **fault: Any) -> None:
        self.here.world.control.add_faults({**fault, "resource": f"*/{endpoint}*"})
