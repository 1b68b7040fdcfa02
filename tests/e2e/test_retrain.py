"""Retraining at the running app: the better model wins or nobody moves, and whatever happens no machine is left.

Scenarios that need no hand are run together; each of the others has the world for itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from localdev.demo import drift
from tests.e2e.retrainings import CHANGED, INVALID, MONITOR, NIGHTLY, declarations, most_at_once
from tests.e2e.sweeps import check_swept, sweep_through
from tests.e2e.test_cluster import CREATE, RESIZE, node_bill, statuses
from tests.e2e.units import check_merged, check_scored
from tests.support.checker import violations
from tests.support.estate import Estate, Ran, estate, wait
from tests.support.training import WINTER, a_day, crown, land_seasons, winter_model

UNDISTURBED = (
    "on-this-machine", "on-a-cluster", "first-ever", "nothing-valid", "no-code", "no-entry", "nothing-new",
    "columns-changed", "bomb", "bombed-champion", "worse-slice", "cluster-fails",
)  # fmt: skip
WITHOUT_CHAMPION = ("first-ever", "per-carrier", "per-carrier-in-winter")
PATIENCE_S = 240
PAST_ITS_TIME = timedelta(hours=4, minutes=15)


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mark") / "exploded"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mark: Path) -> Iterator[Estate]:
    # A world sets the environment of this process; another one may be running for the rest of the folder.
    place = tmp_path_factory.mktemp("retrain")
    (place / "workloads").mkdir()
    (place / "workloads" / "invalid.yaml").write_text(INVALID)
    with mock.patch.dict(os.environ), estate(place, [*declarations(str(mark)), NIGHTLY]) as running:
        _furnish(running, mark)
        yield running


def _furnish(here: Estate, mark: Path) -> None:
    """Data whose summer no champion knows, and a champion that knows only the winter for every model but one."""
    land_seasons(here)
    land_seasons(here, CHANGED)
    last = f"{CHANGED}009.parquet"
    here.landing.upload_blob(last, a_day(9, summer=True, without="hour", extra="minute"), overwrite=True)
    winter, bomb = winter_model(), _bomb(mark)
    for declared in declarations(""):
        name = declared["name"]
        if name not in WITHOUT_CHAMPION:
            knows = 10 if name == "nothing-new" else WINTER
            data = bomb if name == "bombed-champion" else winter
            crown(here, f"{name}-model", data, knows=knows, prefix=declared["data"]["prefix"])
    here.settle_second()


def _bomb(mark: Path) -> bytes:
    import pickle

    from tests.support.challenger.train import Bomb

    return pickle.dumps(Bomb(str(mark)))


@pytest.fixture(scope="module")
def undisturbed(world: Estate) -> dict[str, Ran]:
    """All of them, over."""
    world.fault(
        vm=world.expect("cluster-fails").cluster_of(1), kind="async_failure", operation=CREATE,
        code="AllocationFailed", message="No room.",
    )  # fmt: skip
    runs = {name: world.start(name) for name in UNDISTURBED}
    return {name: world.finish(run, PATIENCE_S) for name, run in runs.items()}


@pytest.fixture(scope="module")
def breached(world: Estate, undisturbed: dict[str, Ran]) -> str:
    """How a monitor's run ended, made by plain azure-ai-ml, which polls as it likes: that is not ours to answer for."""
    world.world.subscribe_events()
    return drift.breach(world.world, MONITOR, "monitor-1")


@pytest.fixture
def here(world: Estate, undisturbed: dict[str, Ran]) -> Iterator[Estate]:
    """The world at rest; after the test it must be again, and all invariants hold."""
    since = len(world.world.control.events())
    yield world
    world.world.control.clear_faults()
    assert violations(world, since=since) == []


def champion(here: Estate, workload: str) -> str:
    models = here.service.get_container_client("models")
    return str(here.read_json(models, f"{workload}-model/champion.json")["version"])


def stayed(here: Estate, workload: str, run: Ran, state: str, *words: str) -> None:
    """The run ended in this state, for these reasons, and moved nobody."""
    assert run.outcome["state"] == state, run.report
    for word in words:
        assert word in run.outcome["reason"]
    assert run.outcome["registered"] == ""
    assert champion(here, workload) == "1"


def bought_nothing(run: Ran) -> None:
    assert (run.outcome["charges"], run.outcome["usd"]) == ([], 0)


def records(here: Estate, run: Ran) -> dict[str, dict[str, Any]]:
    """Each trial's record by what it was to do."""
    planned = here.read_json(here.state, f"runs/{run.id}/trials.json") or ()
    found = {
        trial["parameters"]["deed"]: here.read_json(here.state, f"runs/{run.id}/trials/{trial['id']}.json")
        for trial in planned
    }
    return {deed: record for deed, record in found.items() if record}


def test_what_ran_together_left_nothing_behind(world: Estate, undisturbed: dict[str, Ran]) -> None:
    assert violations(world) == []


@pytest.mark.parametrize(("workload", "trials"), [("on-this-machine", 4), ("on-a-cluster", 8)])
def test_the_best_challenger_becomes_champion(
    world: Estate, undisturbed: dict[str, Ran], workload: str, trials: int
) -> None:
    outcome = undisturbed[workload].outcome

    assert (outcome["state"], outcome["verdict"]) == ("Completed", "Promote"), undisturbed[workload].report
    assert (outcome["champion"], outcome["registered"]) == (f"{workload}-model:1", f"{workload}-model:2")
    assert (outcome["trials_valid"], outcome["trials_failed"]) == (trials, 0)
    (gain,) = [row for row in outcome["table"] if row["what"] == "auc"]
    assert gain["challenger"] > gain["champion"] + 0.1
    assert gain["difference"]["low"] > 0
    models = world.service.get_container_client("models")
    assert champion(world, workload) == "2"
    lineage = world.read_json(models, f"{workload}-model/2/LINEAGE.json")
    assert (lineage["run"], lineage["champion"]) == (outcome["run"], f"{workload}-model:1")
    assert lineage["parameters"] == next(
        t["parameters"] for t in outcome["trials"] if t["trial"] == outcome["challenger"]
    )


def test_a_cluster_trains_what_this_machine_trains(undisturbed: dict[str, Ran]) -> None:
    """The first trials are the same, however many more there are: the same metrics, on the same rows."""
    near, far = (undisturbed[name].outcome for name in ("on-this-machine", "on-a-cluster"))

    def told(outcome: dict[str, Any]) -> list[tuple[Any, ...]]:
        return [(t["trial"], t["parameters"], round(t["metric"], 9)) for t in outcome["trials"]]

    assert told(near) == told(far)[:4]


def test_a_cluster_works_in_the_declared_window_and_is_paid_by_the_node(
    world: Estate, undisturbed: dict[str, Ran]
) -> None:
    run = undisturbed["on-a-cluster"]

    trained, judged = run.outcome["charges"]
    assert (trained["nodes"], judged["nodes"]) == (4, 1)
    assert len(statuses(world, run)) == 9
    assert most_at_once(world, run) == 4
    for role in ("train", "evaluate"):
        assert all(line["ended"] for line in node_bill(world, run.cluster_of(1, role)))
    shares = [trial["usd"] for trial in run.outcome["trials"]]
    assert all(share > 0 for share in shares)
    assert sum(shares) <= run.outcome["usd"]


def test_azure_ml_has_the_new_version_with_what_made_it(world: Estate, undisturbed: dict[str, Ran]) -> None:
    outcome = undisturbed["on-a-cluster"].outcome
    (version,) = [
        resource for resource in world.world.control.resources()
        if resource["id"].endswith("/models/on-a-cluster-model/versions/2")
    ]  # fmt: skip

    tags = version["properties"]["tags"]
    manifest = world.read_json(world.state, f"runs/{outcome['run']}/data.json")
    assert (tags["run"], tags["trial"]) == (outcome["run"], outcome["challenger"])
    assert tags["causedBy"].startswith("muster")
    assert tags["dataDigest"] and tags["codeDigest"] and float(tags["metric.auc"]) > 0.5
    assert len(manifest["train"]) == 4 and len(manifest["test"]) == 2


def test_the_deployment_of_a_new_champion_is_asked_for_once(
    world: Estate, undisturbed: dict[str, Ran]
) -> None:
    outcome = undisturbed["on-a-cluster"].outcome
    request = world.read_json(world.state, outcome["deployment"])

    assert (request["workload"], request["run"]) == ("seasons-live", outcome["run"])
    assert request["model"]["version"] == "2"


def test_the_first_model_goes_by_the_rule_made_for_it(world: Estate, undisturbed: dict[str, Ran]) -> None:
    outcome = undisturbed["first-ever"].outcome

    assert (outcome["state"], outcome["champion"]) == ("Completed", ""), undisturbed["first-ever"].report
    assert "first model: auc" in outcome["reason"]
    assert champion(world, "first-ever") == "1"


def test_trials_without_a_sound_result_are_no_challengers(world: Estate, undisturbed: dict[str, Ran]) -> None:
    run = undisturbed["nothing-valid"]

    stayed(world, "nothing-valid", run, "Inconclusive", "0 of 3 trials are valid")
    reasons = {deed: record["reason"] for deed, record in records(world, run).items()}
    assert "auc is nan" in reasons["nan"]
    assert "metrics.json is missing" in reasons["nothing"]
    assert "no such column as this one" in reasons["crash"]


@pytest.mark.parametrize(
    ("workload", "file"), [("no-code", "unheard-of/train.py"), ("no-entry", "absent.py")]
)
def test_training_code_that_is_not_there_is_seen_before_anything_is_bought(
    world: Estate, undisturbed: dict[str, Ran], workload: str, file: str
) -> None:
    stayed(world, workload, undisturbed[workload], "Failed", file)
    bought_nothing(undisturbed[workload])


def test_without_new_data_a_run_is_deferred_and_buys_nothing(
    world: Estate, undisturbed: dict[str, Ran]
) -> None:
    run = undisturbed["nothing-new"]
    stayed(world, "nothing-new", run, "Deferred", "0 blobs are new", "minNewBlobs")
    bought_nothing(run)


def test_columns_that_changed_end_the_run_with_the_difference_before_anything_is_bought(
    world: Estate, undisturbed: dict[str, Ran]
) -> None:
    run = undisturbed["columns-changed"]
    stayed(world, "columns-changed", run, "Failed", "009.parquet", "hour")
    bought_nothing(run)


def test_a_challenger_that_is_a_bomb_is_never_loaded_outside_its_cell(
    world: Estate, undisturbed: dict[str, Ran], mark: Path
) -> None:
    stayed(world, "bomb", undisturbed["bomb"], "Inconclusive", "the challenger cannot be evaluated")
    assert not mark.exists()


def test_a_champion_that_cannot_be_measured_keeps_its_title(
    world: Estate, undisturbed: dict[str, Ran], mark: Path
) -> None:
    run = undisturbed["bombed-champion"]
    stayed(world, "bombed-champion", run, "Inconclusive", "the champion cannot be evaluated")
    assert not mark.exists()


def test_better_overall_and_worse_on_a_slice_is_rejected(world: Estate, undisturbed: dict[str, Ran]) -> None:
    run = undisturbed["worse-slice"]

    stayed(world, "worse-slice", run, "Rejected", "slice", "carrier = B6")
    rulings = {row["what"]: row["ruling"] for row in run.outcome["table"]}
    assert rulings["auc"] == "Promote"
    assert rulings["auc where carrier = B6"] == "Rejected"


def test_a_cluster_that_cannot_be_made_is_made_elsewhere(world: Estate, undisturbed: dict[str, Ran]) -> None:
    outcome = undisturbed["cluster-fails"].outcome

    assert outcome["state"] == "Completed", undisturbed["cluster-fails"].report
    trained = [charge["offer"]["region"] for charge in outcome["charges"]]
    assert trained[:2] == ["westeurope", "northeurope"]


def test_a_declaration_is_refused_with_all_its_faults(world: Estate) -> None:
    status, health = world.world.api("health")
    (told,) = health["problems"]

    assert status == 503
    for fault in ("learning_rate", "out", "depth", "l2", "training.code"):
        assert fault in told
    assert world.world.api("runs", method="POST", body={"workload": "invalid"})[0] == 404


def test_a_monitor_that_breaches_starts_a_run_which_says_what_caused_it(breached: str, here: Estate) -> None:
    run = Ran(id=wait(lambda: _decided(here, "by-event"), "a decision to start", PATIENCE_S), slot="")
    here.finish(run, PATIENCE_S)

    assert breached == "Failed"
    outcome = run.outcome
    assert outcome["state"] == "Completed", run.report
    assert outcome["run"] == f"train-by-event-event-{outcome['cause'][:16]}"
    models = here.service.get_container_client("models")
    assert here.read_json(models, "by-event-model/2/LINEAGE.json")["cause"] == outcome["cause"]
    wait(lambda: here.world.control.owed_deliveries() == 0, "our own events to be delivered", PATIENCE_S)
    assert [run_id for run_id in _runs(here) if "by-event" in run_id] == [outcome["run"]]


def _decided(here: Estate, workload: str) -> str:
    _, found = here.world.api(f"decisions?workload={workload}")
    runs = [str(d["run"]) for d in found["decisions"] if d["action"] == "START"]
    return runs[0] if runs and runs[0] in _runs(here) else ""


def _runs(here: Estate) -> list[str]:
    return [run["id"] for run in here.world.api("runs")[1]["runs"]]


def test_nodes_that_never_come_send_the_trials_to_the_next_offer(here: Estate) -> None:
    run = here.expect("no-node-comes")
    here.fault(vm=run.cluster_of(1), kind="resize_stuck", operation=RESIZE)
    here.start("no-node-comes")
    wait(lambda: "Queued" in str(statuses(here, run)), "a job to wait for a node", PATIENCE_S)
    here.world.clock.advance(timedelta(minutes=21))
    here.finish(run)

    assert run.outcome["state"] == "Completed", run.report
    assert [c["offer"]["priority"] for c in run.outcome["charges"]][:2] == ["Spot", "Regular"]
    assert node_bill(here, run.cluster_of(1)) == []


def test_two_trials_that_crash_and_one_that_hangs_leave_five_to_choose_from(here: Estate) -> None:
    run = here.start("two-crash-one-hangs")
    wait(lambda: len(records(here, run)) == 7, "seven records", PATIENCE_S)
    wait(
        lambda: [each[-1] for each in statuses(here, run).values()].count("Running") == 1,
        "the hang to run",
        PATIENCE_S,
    )
    here.world.clock.advance(PAST_ITS_TIME)
    here.finish(run)

    outcome = run.outcome
    assert (outcome["state"], outcome["trials_valid"]) == ("Completed", 5), run.report
    assert outcome["trials_failed"] == 3
    assert len(statuses(here, run)) == 9  # none was tried twice
    assert outcome["challenger"] in ("t000", "t001", "t002", "t003", "t004")


def test_a_trial_whose_node_is_taken_away_goes_on_from_its_checkpoint(here: Estate) -> None:
    run = here.start("node-preempted")
    prefix = f"runs/{run.id}/checkpoints/t000/"
    wait(lambda: list(here.state.list_blobs(prefix)), "a checkpoint to be kept", PATIENCE_S)
    here.world.control.preempt_node(run.cluster_of(1))
    here.finish(run)

    assert run.outcome["state"] == "Completed", run.report
    assert records(here, run)["resume"]["metrics"]["resumed"] == 1
    assert any(each.count("Running") == 2 for each in statuses(here, run).values())


def test_azure_ml_searches_as_one_sweep_through_a_kill_a_poor_trial_and_a_preemption(here: Estate) -> None:
    run = here.start("swept")
    sweep_through(here, run, PATIENCE_S)
    check_swept(here, run, statuses(here, run), records(here, run))


def test_cancelling_ends_the_trials_and_leaves_the_champion(here: Estate) -> None:
    run = here.start("cancelled")
    wait(lambda: "Running" in str(statuses(here, run)), "a trial to run", PATIENCE_S)
    assert here.world.api(f"runs/{run.id}/cancel", method="POST")[0] == 202
    here.finish(run)

    stayed(here, "cancelled", run, "Cancelled")
    assert {each[-1] for each in statuses(here, run).values()} == {"Canceled"}


def test_killed_in_the_middle_of_training_the_same_run_ends_with_one_registration(here: Estate) -> None:
    run = here.start("killed")
    wait(lambda: records(here, run), "a first trial to be over", PATIENCE_S)
    here.world.kill_app()
    here.world.start_app()
    here.finish(run, PATIENCE_S)

    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["trials_valid"] == 3
    assert run.outcome["registered"] == "killed-model:2"
    assert champion(here, "killed") == "2"


def test_of_a_model_per_carrier_winners_go_in_and_the_night_scores_with_all(here: Estate) -> None:
    first = here.finish(here.start("per-carrier-in-winter"), PATIENCE_S)
    second = here.finish(here.start("per-carrier"), PATIENCE_S)

    assert champion(here, "per-carrier") == "2"
    check_merged(here, first, second)
    check_scored(here, here.score(NIGHTLY["name"]))
