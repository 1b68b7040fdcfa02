"""Bad days: whatever fails, no machine is forgotten, no shard lost, and nothing unproved is published."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.estate import Estate, Ran, register_plain_model, wait


def failed(run: Ran, *words: str) -> None:
    """The run failed, for everybody to see, and its reason has these words."""
    assert run.outcome["state"] == "Failed", run.report
    assert run.report["state"] == "Failed"
    for word in words:
        assert word in run.outcome["reason"]


def test_a_missing_container_fails_at_no_cost(here: Estate) -> None:
    run = here.score("no-container")
    failed(run, "absent-container")
    assert run.outcome["usd"] == 0


def test_a_missing_model_fails_at_no_cost(here: Estate) -> None:
    here.land("no-model")
    run = here.score("no-model")
    failed(run, "unheard-of")
    assert run.outcome["usd"] == 0


def test_a_model_that_raises_on_load_fails_the_run_and_frees_the_machine(here: Estate) -> None:
    models = here.service.get_container_client("models")
    register_plain_model(models, version="9", champion=False)
    import hashlib
    import json

    poisoned = b"not a model at all"
    card = here.read_json(models, "plain/9/MODEL.json") | {
        "sha256": hashlib.sha256(poisoned).hexdigest(), "size": len(poisoned)
    }  # fmt: skip
    models.upload_blob("plain/9/model.joblib", poisoned, overwrite=True)
    models.upload_blob("plain/9/MODEL.json", json.dumps(card), overwrite=True)
    here.land("bad-model")
    run = here.score("bad-model")
    failed(run, "ModelLoadError")
    assert here.published(run, "bad-model") == {}
    assert len(run.outcome["charges"]) == 1


def test_unreadable_files_are_quarantined_with_their_reason(here: Estate) -> None:
    here.land("poison", 3)
    here.land_bytes("poison/bad.parquet", b"PAR1 this is no parquet")
    run = here.score("poison")
    assert run.outcome["state"] == "CompletedWithQuarantine", run.report
    receipt = run.outcome["receipt"]
    assert (receipt["listed"], receipt["scored"], receipt["quarantined"]) == (4, 3, 1)
    manifest = here.read_json(here.scores, receipt["manifest"]["blob"])
    bad = [i for i in manifest["items"] if i["status"] == "quarantined"]
    assert [i["blob"] for i in bad] == ["poison/bad.parquet"]
    assert bad[0]["reason"] and bad[0]["attempts"] == 2


def test_too_many_unreadable_files_publish_nothing_and_keep_the_watermark(here: Estate) -> None:
    here.land("too-much-poison", 1)
    here.land_bytes("too-much-poison/bad.parquet", b"PAR1 this is no parquet")
    run = here.score("too-much-poison")
    failed(run, "1 of 2 inputs could not be scored", "bad.parquet")
    assert here.published(run, "too-much-poison") == {}
    assert here.read_json(here.state, "watermarks/too-much-poison.json") is None


def test_quota_zero_is_seen_before_anything_is_bought(here: Estate) -> None:
    here.land("quota-zero")
    here.world.control.set_quota("westeurope", "standardDSv5Family", 0)
    try:
        run = here.score("quota-zero")
    finally:
        here.world.control.set_quota("westeurope", "standardDSv5Family", 100)
    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["charges"][0]["offer"]["region"] == "northeurope"
    assert any("westeurope" in line and "limit" in line for line in run.outcome["offers"])


def test_no_quota_anywhere_fails_in_preflight_at_no_cost(here: Estate) -> None:
    here.land("no-quota-anywhere")
    here.world.control.set_quota("westeurope", "standardDSv5Family", 0)
    try:
        run = here.score("no-quota-anywhere")
    finally:
        here.world.control.set_quota("westeurope", "standardDSv5Family", 100)
    failed(run, "limit 0", "used 0", "needed")
    assert run.outcome["usd"] == 0
    assert run.outcome["charges"] == []


def test_a_budget_too_small_fails_in_preflight_at_no_cost(here: Estate) -> None:
    here.land("too-dear")
    run = here.score("too-dear")
    failed(run, "budget", "limits.budgetUsd")
    assert run.outcome["charges"] == []


def test_an_absent_size_sends_the_run_to_the_next_offer(here: Estate) -> None:
    here.land("sku-absent")
    run = here.expect("sku-absent")
    here.fault(run, preset="sku-not-available")
    here.start("sku-absent")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["charges"][-1]["offer"]["region"] == "northeurope"


def test_the_carcass_of_a_failed_allocation_is_deleted(here: Estate) -> None:
    here.land("no-allocation")
    run = here.expect("no-allocation")
    here.fault(run, preset="allocation-failed-later")
    here.start("no-allocation")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["charges"][-1]["offer"]["region"] == "northeurope"
    assert len(run.outcome["charges"]) == 2


def test_a_machine_that_never_boots_is_deleted_and_replaced_once(here: Estate) -> None:
    here.land("never-boots")
    run = here.expect("never-boots")
    here.fault(run, preset="boot-never-ready")
    here.start("never-boots")
    here.until(run, lambda report: "to be ready" in report["waiting_for"])
    here.world.clock.advance(timedelta(minutes=16))
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert [c["epoch"] for c in run.outcome["charges"]] == [1, 2]


def test_a_script_that_fails_fails_the_run(here: Estate) -> None:
    here.land("script-fails")
    run = here.expect("script-fails")
    here.fault(run, preset="script-fails")
    here.start("script-fails")
    here.finish(run)
    failed(run, "JobFailed", "exit code")


def test_a_script_that_hangs_is_cut_at_the_declared_deadline(here: Estate) -> None:
    here.land("script-hangs")
    run = here.expect("script-hangs")
    here.fault(run, preset="script-hangs")
    here.start("script-hangs")
    here.until(run, lambda report: "job" in report["waiting_for"])
    here.world.clock.advance(timedelta(minutes=25))
    here.finish(run)
    failed(run, "JobFailed")


def test_a_machine_that_vanishes_is_replaced_and_no_shard_is_scored_twice(here: Estate) -> None:
    here.land("vanishes", 5)
    run = here.expect("vanishes")
    here.fault(run, preset="vm-vanishes", after_s=60)
    here.start("vanishes")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert [c["epoch"] for c in run.outcome["charges"]] == [1, 2]


def test_evicted_twice_the_run_ends_on_a_machine_that_stays(here: Estate) -> None:
    here.land("evicted", 5)
    run = here.expect("evicted")
    for epoch in (1, 2):
        here.fault(vm=run.vm_of(epoch), preset="spot-evicted", after_s=60)
    here.start("evicted")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert [c["offer"]["priority"] for c in run.outcome["charges"]] == ["Spot", "Spot", "Regular"]


def test_a_delete_refused_twice_is_asked_again(here: Estate) -> None:
    here.land("delete-refused")
    run = here.expect("delete-refused")
    here.fault(run, preset="conflict", operation="Microsoft.Compute/virtualMachines/delete")
    here.fault(run, preset="delete-throttled", operation="Microsoft.Compute/virtualMachines/delete", nth=2)
    here.start("delete-refused")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["teardown"] == "Clean"


def test_a_nic_that_stays_behind_is_deleted_too(here: Estate) -> None:
    here.land("nic-stays")
    run = here.expect("nic-stays")
    here.fault(run, preset="nic-left-behind")
    here.start("nic-stays")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    assert run.outcome["teardown"] == "Clean"


def test_a_lost_answer_to_the_create_makes_one_machine(here: Estate) -> None:
    here.land("answer-lost")
    run = here.expect("answer-lost")
    here.fault(run, preset="lost-response", operation="Microsoft.Compute/virtualMachines/write")
    here.start("answer-lost")
    here.finish(run)
    assert run.outcome["state"] == "Completed", run.report
    machines = {
        line["resource_id"] for line in here.world.control.bill()["lines"] if run.vm in line["resource_id"]
    }
    assert len({m for m in machines if "virtualMachines" in m}) == 1


def test_cancelling_releases_the_machine_and_publishes_nothing(here: Estate) -> None:
    here.land("cancelled", 5)
    run = here.start("cancelled")
    here.until(run, lambda report: bool(report["machines"]))
    status, _ = here.world.api(f"runs/{run.id}/cancel", method="POST")
    assert status == 202
    here.finish(run)
    assert run.outcome["state"] == "Cancelled", run.report
    assert here.published(run, "cancelled") == {}


def test_a_terminated_run_loses_its_machine_to_the_reaper(here: Estate) -> None:
    here.land("terminated", 5)
    run = here.expect("terminated")
    here.fault(run, preset="script-hangs")
    here.start("terminated")
    here.until(run, lambda report: "job" in report["waiting_for"])
    here.world.terminate(run.id)
    wait(lambda: not here.machines(), "the reaper to take the machine")
    # The run left its lease open; the operator closes the book by hand: the machine is what costs.
    wait(lambda: here.world.api("leases")[1]["leases"] == [], "the reaper to close the lease")


@pytest.mark.parametrize("body, status, path", [
    ({"workload": "no-such"}, 404, None),
    ({}, 400, "workload"),
    ({"workload": 7}, 400, "workload"),
    ({"workload": "plain-dsvm", "unknown": 1}, 400, "unknown"),
    ({"workload": "plain-dsvm", "slot": "yesterday"}, 400, "slot"),
    ({"workload": "../plain-dsvm"}, 404, None),
    ({"workload": "plain\x00dsvm"}, 404, None),
    (b"{not json", 400, ""),
    (b"x" * 10_000_000, 413, None),
])  # fmt: skip
def test_a_bad_request_is_answered_with_every_fault(
    here: Estate, body: object, status: int, path: str | None
) -> None:
    got, problem = here.world.api("runs", method="POST", body=body)
    assert got == status, problem
    assert problem["title"]
    if path is not None:
        assert path in [e["path"] for e in problem["errors"]]


def test_a_stranger_without_a_key_is_refused_everywhere(here: Estate) -> None:
    for method, path in [
        ("POST", "runs"),
        ("GET", "runs"),
        ("GET", "runs/x"),
        ("POST", "runs/x/cancel"),
        ("GET", "leases"),
    ]:
        status, _ = here.world.api(path, method=method, headers={"x-functions-key": "wrong"})
        assert status == 401
