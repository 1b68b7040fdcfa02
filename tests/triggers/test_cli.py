"""The command line as a person uses it: a process of its own, its output and its exit status."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.estate import SPEED, Estate, Ran, declaration
from tests.triggers.conftest import DECLARATIONS

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Muster:
    """`muster`, run in an empty folder with nothing but what it is told."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder, self._environment = folder, environment

    def __call__(self, *arguments: str, **environment: str) -> Said:
        plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self._environment, **environment}
        done = subprocess.run(
            [sys.executable, "-m", "shared.cli", *arguments],
            cwd=self._folder, env=plain, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str) -> str:
        said = self(*arguments)
        assert said.status == 0, said.err
        return said.out


@pytest.fixture
def muster(world: Estate, tmp_path: Path) -> Muster:
    return Muster(tmp_path, MUSTER_URL=world.world.url, MUSTER_KEY=world.world.key)


@contextmanager
def holding(world: Estate) -> Iterator[Ran]:
    """A run that holds a machine, with the clock stopped so that it stays so."""
    world.land("held", 2)
    run = world.start("held", key=os.urandom(4).hex())
    world.until(run, lambda report: bool(report["machines"]) and "job" in report["waiting_for"])
    world.world.clock.set_speed(0)
    try:
        yield run
    finally:
        world.world.clock.set_speed(SPEED)
        world.finish(run)


def test_run_names_the_run_and_the_same_key_is_the_same_run(world: Estate, muster: Muster) -> None:
    run = world.expect("scored", key="by-hand")
    command = ("run", "scored", "--idempotency-key", "by-hand", "--reason", "asked by a test")
    assert muster.ok(*command) == f"{run.id} started; see how it does: muster explain {run.id}\n"
    assert muster.ok(*command).startswith(f"{run.id} was started before;")
    world.finish(run)
    again = muster(*command, "--json").json
    assert (again["id"], again["fresh"]) == (run.id, False)
    assert again["status"] == f"{world.world.url}/api/runs/{run.id}"


def test_run_of_a_slot_is_the_timers_run(world: Estate, muster: Muster) -> None:
    said = muster("--json", "run", "nightly", "--slot", "2026-07-14T02:00:00+02:00")
    assert said.json["id"] == "score-nightly-20260714T000000Z"
    world.finish(Ran(id=said.json["id"], slot="20260714T000000Z"))


def test_what_cannot_be_run_is_refused_with_what_can(muster: Muster) -> None:
    said = muster("run", "nightlyy")
    assert (said.status, said.out) == (1, "")
    files = sorted(f"{each['name']}.yaml" for each in DECLARATIONS)
    there = [file.removesuffix(".yaml") for file in files if file != "steals-records.yaml"]
    told = f"no workload 'nightlyy' is deployed; there are: {', '.join(there)}"
    assert said.err == f"muster: Not found: {told}\n"
    said = muster("run", "nightly", "--slot", "yesterday")
    assert said.status == 1
    assert "\n  slot: 'yesterday' is not a time with a zone; for example 2026-03-01T02:00:00Z\n" in said.err
    said = muster("run", "nightly", "--slot", "2026-07-14T03:00:00Z", "--json")
    assert said.out == ""
    assert json.loads(said.err)["errors"][0]["path"] == "slot"


def test_a_declaration_that_would_write_among_the_apps_records_is_not_deployed(
    world: Estate, muster: Muster
) -> None:
    assert "no workload 'steals-records' is deployed" in muster("run", "steals-records").err
    status, health = world.world.api("health")
    assert status == 503
    assert ["output.container" in problem for problem in health["problems"]] == [True]


def test_runs_lists_what_ran(world: Estate, muster: Muster) -> None:
    run = world.score("scored", key="listed")
    head, *rows = muster.ok("runs").splitlines()
    assert head.split() == ["RUN", "STATE", "PHASE", "CREATED"]
    (row,) = (row.split() for row in rows if run.id in row)
    assert row[1] in ("NothingNew", "Completed")
    assert run.id in [each["id"] for each in muster("runs", "--json").json["runs"]]


class TestWhileAMachineIsHeld:
    @pytest.fixture(scope="class")
    def held(self, world: Estate) -> Iterator[Ran]:
        with holding(world) as run:
            yield run

    def test_explain_says_what_a_run_waits_for_holds_and_would_lose(self, held: Ran, muster: Muster) -> None:
        text = muster.ok("explain", held.id)
        lines = text.splitlines()
        assert lines[0].startswith(f"{held.id}: Running, ")
        (waiting,) = (line for line in lines if line.startswith("  waiting for  "))
        assert "job" in waiting and ", since 20" in waiting and ", next look 20" in waiting
        (machine,) = (line for line in lines if line.startswith("  machine      "))
        assert "(lease " in machine and "/h, $" in machine
        assert lines[-1] == (
            "  cancel would release 1 machine(s), publish nothing and delete the parts written so far: "
            f"muster cancel {held.id}"
        )
        report = muster("explain", held.id, "--json").json
        assert (report["id"], len(report["machines"])) == (held.id, 1)

    def test_leases_names_the_machine_its_owner_and_its_price(self, held: Ran, muster: Muster) -> None:
        head, row = muster.ok("leases").splitlines()
        assert head.split() == ["LEASE", "OWNER", "MACHINE", "USD/H", "SINCE", "DEADLINE"]
        assert held.id in row
        (lease,) = muster("leases", "--json").json["leases"]
        assert (lease["owner"], lease["epoch"]) == (held.id, 1)

    def test_a_workload_at_work_is_not_started_beside_itself(self, held: Ran, muster: Muster) -> None:
        said = muster("run", "held")
        assert said.status == 1
        assert f"{held.id} of workload held is at work; wait for it or cancel it" in said.err


def test_cancel_releases_the_machine_and_says_so(world: Estate, muster: Muster) -> None:
    with holding(world) as held:
        assert muster.ok("cancel", held.id, "--reason", "wrong model") == (
            f"{held.id}: cancellation is on record; its machines are being released: muster explain {held.id}\n"
        )
        world.world.clock.set_speed(SPEED)
        world.finish(held)
        assert "\n  ended        Cancelled " in muster.ok("explain", held.id)
        assert muster.ok("leases") == "no machine is held\n"
        again = muster("cancel", held.id)
        assert again.status == 1
        assert f"{held.id} is over (Completed); there is nothing to cancel" in again.err


def test_explain_of_a_published_run_shows_its_receipt(world: Estate, muster: Muster) -> None:
    world.land("scored", 2)
    run = world.score("scored", key="published")
    text = muster.ok("explain", run.id)
    assert f"  receipt      scores/scored/{run.slot}/_MANIFEST.json: " in text
    assert "listed = 2 scored + 0 quarantined, 80 rows\n" in text
    assert "  teardown     Clean\n" in text
    assert "cancel would" not in text


def test_explain_of_a_failed_run_says_why_and_what_it_cost(world: Estate, muster: Muster) -> None:
    world.land("no-model", 1)
    run = world.score("no-model")
    text = muster.ok("explain", run.id)
    assert text.startswith(f"{run.id}: Failed, ")
    assert "\n  ended        Failed NotFoundError: " in text and "unheard-of" in text
    assert "\n  spent        $0.0000 as of 20" in text
    assert "\n  teardown     Clean\n" in text


@pytest.mark.parametrize("run", ["score-scored-manual-ffffffffffffffff", "../leases", "a b"])
def test_a_run_that_is_not_there_is_said_to_be_not_there(muster: Muster, run: str) -> None:
    for command in ("explain", "cancel"):
        said = muster(command, run)
        assert said.status == 1
        assert said.err.startswith("muster: Not found: no run ")


def test_a_workload_is_no_run_and_scoring_decides_about_nothing(muster: Muster) -> None:
    assert muster("cancel", "scored").err.startswith("muster: Not found: no run ")
    said = muster("explain", "scored")
    assert said.status == 1
    assert (
        "scored is a BatchScoring: it decides about no events; workloads that do: by-hand, lacks-data, retrains"
        in said.err
    )


class TestWhenNothingRuns:
    """The hub's file is all there is: a copy of the app's, which no process has open, and no address of an app."""

    @pytest.fixture(scope="class")
    def ran(self, world: Estate) -> Ran:
        world.land("scored", 2)
        return world.score("scored", key="offline")

    @pytest.fixture
    def hub(self, world: Estate, ran: Ran, tmp_path: Path) -> Path:
        with (
            closing(sqlite3.connect(world.world.state / "hub.sqlite")) as live,
            closing(sqlite3.connect(tmp_path / "hub.sqlite")) as copy,
        ):
            live.backup(copy)
        return tmp_path / "hub.sqlite"

    def test_the_hub_file_tells_the_runs(self, world: Estate, ran: Ran, hub: Path, tmp_path: Path) -> None:
        said = Muster(tmp_path)("runs", "--hub", str(hub), "--json").json
        _, live = world.world.api("runs")
        ended = {run["id"]: run for run in live["runs"] if run["state"] not in ("Running", "Pending")}
        shown = {run["id"]: run for run in said["runs"]}
        assert ran.id in shown
        assert ended.keys() <= shown.keys()
        assert all(ended[id_].items() >= shown[id_].items() for id_ in ended)
        assert Muster(tmp_path).ok("runs", "--hub", "hub.sqlite").splitlines()[0].split() == [
            "RUN", "STATE", "PHASE", "CREATED"
        ]  # fmt: skip

    def test_the_hub_file_explains_a_run(self, ran: Ran, hub: Path, tmp_path: Path) -> None:
        text = Muster(tmp_path).ok("explain", ran.id, "--hub", str(hub))
        assert text.startswith(f"{ran.id}: Completed, ")
        assert "listed = 2 scored + 0 quarantined, 80 rows\n" in text

    def test_the_hub_file_says_why_a_run_failed(self, world: Estate, hub: Path, tmp_path: Path) -> None:
        failed = world.score("no-model", key="offline")
        fresh = tmp_path / "later.sqlite"
        with (
            closing(sqlite3.connect(world.world.state / "hub.sqlite")) as live,
            closing(sqlite3.connect(fresh)) as copy,
        ):
            live.backup(copy)
        text = Muster(tmp_path).ok("explain", failed.id, "--hub", str(fresh))
        assert text.startswith(f"{failed.id}: Failed, ")
        assert "  error        " in text and "unheard-of" in text

    def test_reading_leaves_the_file_as_it_was(self, hub: Path, tmp_path: Path) -> None:
        before = hub.read_bytes()
        Muster(tmp_path).ok("runs", "--hub", str(hub))
        assert hub.read_bytes() == before

    def test_beside_a_running_app_the_file_can_be_read_too(
        self, world: Estate, ran: Ran, tmp_path: Path
    ) -> None:
        assert ran.id in Muster(tmp_path).ok("runs", "--hub", str(world.world.state / "hub.sqlite"))

    @pytest.mark.parametrize(("content", "said"), [
        (None, "No such file or directory"), (b"", "is no task hub\n"),
        (b"not a database" * 99, "cannot be read"),
    ])  # fmt: skip
    def test_what_is_no_hub_is_said_to_be_none(
        self, tmp_path: Path, content: bytes | None, said: str
    ) -> None:
        path = tmp_path / "other.sqlite"
        if content is not None:
            path.write_bytes(content)
        answer = Muster(tmp_path)("runs", "--hub", str(path))
        assert (answer.status, answer.out) == (1, "")
        assert said in answer.err

    def test_a_run_that_the_file_does_not_know_is_not_there(self, hub: Path, tmp_path: Path) -> None:
        said = Muster(tmp_path)("explain", "score-scored-manual-ffffffffffffffff", "--hub", str(hub))
        assert said.status == 1
        assert "knows no run" in said.err


def test_without_an_app_it_says_how_to_name_one(tmp_path: Path) -> None:
    said = Muster(tmp_path)("runs")
    assert (said.status, said.out) == (1, "")
    assert said.err == "muster: which app? Give --url, set MUSTER_URL, or start one here with `make serve`\n"


def test_an_app_that_is_not_running_is_not_a_stack_trace(tmp_path: Path) -> None:
    nobody = Muster(tmp_path, MUSTER_URL="http://127.0.0.1:9", MUSTER_KEY="any")
    said = nobody("runs")
    assert said.status == 1
    assert said.err.startswith("muster: no answer from http://127.0.0.1:9/api: ")
    assert said.err.endswith("Is the app running? Here it is started with `make serve`\n")
    assert json.loads(nobody("leases", "--json").err)["title"].startswith("no answer from ")


def test_a_wrong_key_says_what_key_it_must_be(world: Estate, tmp_path: Path) -> None:
    said = Muster(tmp_path, MUSTER_URL=world.world.url)("runs", "--key", "wrong")
    assert said.status == 1
    assert said.err == (
        "muster: the app answered 401 Unauthorized: Not with this key: give --key, or set MUSTER_KEY, to a "
        "function key of the app\n"
    )
    assert "no key for " in Muster(tmp_path, MUSTER_URL=world.world.url)("runs").err


def test_another_server_is_not_taken_for_the_app(world: Estate, tmp_path: Path) -> None:
    said = Muster(tmp_path)("runs", "--url", f"{world.world.url}/runtime", "--key", "any")
    assert said.status == 1
    assert said.err.startswith("muster: the app answered 404 ")
    assert Muster(tmp_path)("runs", "--url", "localhost", "--key", "any").err.startswith(
        "muster: localhost/api is not the app: "
    )


def test_what_make_serve_wrote_is_found(world: Estate, tmp_path: Path) -> None:
    (tmp_path / ".muster").mkdir()
    served = tmp_path / ".muster" / "serve.json"
    served.write_text(json.dumps({"url": world.world.url, "key": world.world.key}))
    assert Muster(tmp_path)("runs").status == 0
    served.write_text("{half")
    assert "which app?" in Muster(tmp_path)("runs").err


def test_wrong_usage_has_a_status_of_its_own(tmp_path: Path) -> None:
    said = Muster(tmp_path)("start", "scored")
    assert said.status == 2
    assert "invalid choice: 'start'" in said.err


def test_a_good_declaration_is_valid_and_shows_its_slots(tmp_path: Path) -> None:
    """Without an app, and without its settings: where declarations are written there are none."""
    path = tmp_path / "nightly.yaml"
    schedule = {"cron": "30 2 29 3 *", "timeZone": "Europe/Paris"}
    path.write_text(yaml.safe_dump(declaration("nightly", schedule=schedule)))
    first, *slots = Muster(tmp_path).ok("validate", "nightly.yaml").splitlines()
    assert first == "nightly.yaml: BatchScoring nightly is valid"
    assert len(slots) == 3
    assert all(slot.startswith("  next slot 20") and slot.endswith("in Europe/Paris") for slot in slots)


BAD = """\
kind: BatchScoring
name: churn
shedule: {cron: "0 2 * * *"}
input: {container: muster, prefix: churn/}
model: {name: churn}
compute: {platform: dvsm}
output: {container: scores, path: churn/}
"""


def test_a_bad_declaration_shows_every_fault_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(declaration("good")))
    said = Muster(tmp_path)("validate", "bad.yaml", "good.yaml", "absent.yaml")
    assert said.status == 1
    assert said.out == "good.yaml: BatchScoring good is valid\n"
    faults = said.err.splitlines()
    assert [line.split(": ")[:2] for line in faults] == [
        ["bad.yaml:3:1", "shedule"],
        ["bad.yaml:4:20", "input.container"],
        ["bad.yaml:6:21", "compute.platform"],
        ["bad.yaml:7:35", "output.path"],
        ["absent.yaml", "No such file or directory"],
    ]
    assert "Did you mean schedule?" in faults[0]
    assert "'muster' holds the app's own records" in faults[1]
    assert "Did you mean dsvm?" in faults[2]


def test_validate_speaks_json(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    said = Muster(tmp_path)("validate", "--json", "bad.yaml", MUSTER_STATE_CONTAINER="elsewhere")
    assert said.status == 1
    (check,) = said.json
    assert (check["file"], check["valid"]) == ("bad.yaml", False)
    assert [(f["path"], f["line"]) for f in check["faults"]] == [
        ("shedule", 3), ("compute.platform", 6), ("output.path", 7)
    ]  # fmt: skip
