"""Deployments from the command line, as the people of the world use it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.azure import approval_records, endpoint_records, ledger
from shared.domain.conversion import ConversionReport, judge_parity
from shared.domain.deploy import DeployOutcome, DeployState
from shared.domain.judging import RuleRow, Ruling, StepEvidence, StepVerdict
from shared.domain.names import deploy_run_id
from shared.domain.report import InstanceLook
from shared.domain.status import RunStatus
from shared.triggers import deploy_view
from tests.support.conversions import parsed, record
from tests.support.estate import Estate
from tests.triggers.test_approvals import asked
from tests.triggers.test_cli import Muster

pytestmark = pytest.mark.usefixtures("stopped")


def as_(who: str, world: Estate, folder: Path) -> Muster:
    return Muster(folder, MUSTER_URL=world.world.url, MUSTER_KEY=world.world.keys[who])


def test_one_asks_another_looks_and_approves(world: Estate, tmp_path: Path) -> None:
    operator, approver = as_("default", world, tmp_path), as_("approver", world, tmp_path)
    command = ("deploy", "by-hand-live", "--version", "1", "--idempotency-key", "one", "--json")
    run = operator(*command).json["id"]
    assert operator.ok("deploy", "by-hand-live", "--version", "1", "--idempotency-key", "one").startswith(
        f"{run} is asked for"
    )
    assert run in operator.ok("deployments")
    said = approver("approve", run)
    assert (said.status, said.err) == (1, f"muster: {run} has asked nobody yet\n")

    request = asked(run, "by-hand-live")
    text = approver.ok("explain", run)
    assert "by-hand-live-model:1 to by-hand-live (aks), asked by http:operator@localdev" in text
    assert f"  digest       {request.digest}\n" in text
    assert f"  muster approve {run}, or muster reject {run}\n" in text

    said = approver("approve", run, "--note", "looks well")
    assert said.out == f"{run}: approve is on record for {request.digest[:12]}\n"
    assert f"{run} asks:\n" in said.err and "in place of nothing" in said.err
    decision = approval_records.read_decision(run)
    assert decision is not None and (decision.digest, decision.note) == (request.digest, "looks well")
    assert "it was decided" in approver("reject", run, "--digest", request.digest).err
    assert "  decision     approve by approver@localdev at " in operator.ok("explain", run)
    assert "it shall be taken back" in operator.ok("rollback", run)


def test_what_cannot_be_deployed_is_told_whole(world: Estate, tmp_path: Path) -> None:
    operator = as_("default", world, tmp_path)
    said = operator("deploy", "by-hand-live", "--version", "12")
    assert (said.status, said.err) == (
        1,
        "muster: The request is not valid\n  model.version: by-hand-live-model has no version '12'; allowed: 1\n",
    )


def test_a_deployment_that_is_over_says_what_its_steps_showed(world: Estate, tmp_path: Path) -> None:
    """Also when no task hub knows it any more: how it ended is on record."""
    run = deploy_run_id("by-hand-live", "manual-" + "a" * 16)
    rows = (
        RuleRow(
            rule="5xx", value="3.00% (3 of 100)", limit="at most 1.00%", ruling=Ruling.FAIL, why="too many"
        ),
        RuleRow(rule="bake", value="PT2M", limit="at least PT5M", ruling=Ruling.INCONCLUSIVE, why="so far"),
    )
    verdict = StepVerdict(ruling=Ruling.FAIL, reason="5xx: too many", rows=rows)
    for number, (weight, outcome) in enumerate(((5, "passed"), (25, "failed")), 1):
        weights = {"dblue": 100 - weight, "dgreen": weight}
        endpoint_records.write_step(
            StepEvidence(
                run=run, number=number, weight=weight, outcome=outcome, looks=3, weights=weights,
                verdict=verdict if outcome == "failed" else None,
            )
        )  # fmt: skip
    found = record(max_abs_difference=0.25)
    refused = ConversionReport(
        served="by-hand-live-model:7", sha256="b" * 64, converted=False, usd=0.25,
        verdict=judge_parity(found, parsed().parity), found=found,
    )  # fmt: skip
    ended = DeployOutcome(
        run=run, workload="by-hand-live", state=DeployState.FROZEN, reason="5xx: too many", endpoint="by-hand-live",
        platform="aks", model="by-hand-live-model:7", weights={"dblue": 75, "dgreen": 25}, remedy="look at the log",
        commands=("az ml online-endpoint update", f"muster rollback {run}"), usd=0.25, conversion=refused,
    )  # fmt: skip
    ledger.claim(f"runs/{run}/outcome.json", ended)
    text = as_("reader", world, tmp_path).ok("explain", run)
    assert text.startswith(f"{run}: Frozen, ")
    for line in (
        "  traffic      dblue 75 %, dgreen 25 %",
        "  conversion   by-hand-live-model:7 is not converted, $0.2500",
        "    Fail         largest difference 0.25 (at most 0.0001)",
        "    one row 1.00 ms to 1.00 ms, 500 rows 9.0 ms to 9.0 ms, 900 bytes to 7",
        "  step   5 %   passed, 3 looks: dblue 95 %, dgreen 5 %",
        "  step  25 %   failed, 3 looks: dblue 75 %, dgreen 25 %",
        "    Fail         5xx 3.00% (3 of 100) (at most 1.00%)  too many",
        "    Inconclusive bake PT2M (at least PT5M)  so far",
        "  ended        Frozen 5xx: too many",
        "  remedy       look at the log",
        f"  type         muster rollback {run}",
    ):
        assert line in text.splitlines()


def test_while_a_model_is_converted_its_machine_is_what_the_run_waits_for_and_costs() -> None:
    run, began = deploy_run_id("by-hand-live", "manual-" + "c" * 16), datetime(2026, 3, 1, tzinfo=UTC)
    waiting = RunStatus(phase="provisioning", waiting_for="Standard_D2s_v5 to be ready", lease="0" * 16,
                        usd_per_hour=0.1, billing_since=began)  # fmt: skip
    child = InstanceLook(
        id=f"{run}.convert", runtime="Running", status=waiting, as_of=began + timedelta(hours=1)
    )
    root = InstanceLook(id=run, runtime="Running", status=RunStatus(phase="converting", percent=3))

    told = deploy_view.whole(root, child)

    assert (told["phase"], told["waiting_for"]) == ("provisioning", "Standard_D2s_v5 to be ready")
    assert (told["percent"], told["spent_usd"], len(told["machines"])) == (3, 0.1, 1)
    assert deploy_view.whole(root, child.model_copy(update={"runtime": "Completed"}))["phase"] == "converting"
