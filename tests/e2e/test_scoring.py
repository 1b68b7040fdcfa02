"""Good days: a workload is scored, published with proof, and its machine is gone."""

from __future__ import annotations

import io

import joblib
import numpy as np
import pyarrow.parquet as pq

from tests.support.estate import Estate


def test_a_run_scores_every_file_and_leaves_nothing_behind(here: Estate) -> None:
    files = here.land("plain-dsvm", 4)
    run = here.score("plain-dsvm")
    assert run.outcome["state"] == "Completed", run.report
    receipt = run.outcome["receipt"]
    assert (receipt["listed"], receipt["scored"], receipt["quarantined"]) == (len(files), len(files), 0)
    assert receipt["rows"] == 40 * len(files)
    assert run.outcome["teardown"] == "Clean"
    assert run.outcome["usd"] > 0


def test_predictions_are_those_of_the_model_on_the_same_rows(here: Estate) -> None:
    files = here.land("plain-local", 3)
    run = here.score("plain-local")
    blobs = {n: d for n, d in here.published(run, "plain-local").items() if n.startswith("part-")}
    scored = {
        row["_source"] + str(row["id"]): row["late_probability"]
        for data in blobs.values()
        for row in pq.read_table(io.BytesIO(data)).to_pylist()
    }
    models = here.service.get_container_client("models")
    model = joblib.load(io.BytesIO(here.read(models, "plain/1/model.joblib") or b""))
    for name in files:
        table = pq.read_table(io.BytesIO(here.read(here.landing, name) or b"")).to_pandas()
        direct = model.predict_proba(table[["distance", "hour"]])[:, 1]
        found = [scored[name + str(i)] for i in table["id"]]
        # The agent pins its arithmetic, this process computes as its own processor likes: the last bits may differ.
        np.testing.assert_array_max_ulp(np.asarray(found), direct, maxulp=8)
    assert len(scored) == 3 * 40


def test_the_same_inputs_give_the_same_bytes_on_any_platform(here: Estate) -> None:
    here.land("same", 3)
    runs = {name: here.score(name) for name in ("same-dsvm", "same-local")}
    parts = [
        {n: d for n, d in here.published(run, name).items() if n.startswith("part-")}
        for name, run in runs.items()
    ]
    assert len(parts[0]) == 3
    assert parts[0] == parts[1]


def test_two_machines_share_the_shards_and_both_are_gone(here: Estate) -> None:
    here.land("two-machines", 5)
    run = here.score("two-machines")
    assert run.outcome["state"] == "Completed", run.report
    assert len(run.outcome["charges"]) == 2
    assert run.outcome["receipt"]["listed"] == 5


def test_nothing_new_buys_nothing(here: Estate) -> None:
    run = here.score("nothing-new")
    assert run.outcome["state"] == "NothingNew"
    assert run.outcome["usd"] == 0
    assert here.published(run, "nothing-new") == {}


def test_a_second_run_scores_only_what_is_new(here: Estate) -> None:
    here.land("watermarked", 2)
    first = here.score("watermarked", key="first")
    assert first.outcome["receipt"]["listed"] == 2, first.report
    second = here.score("watermarked", key="second")
    assert second.outcome["state"] == "NothingNew"
    here.land_bytes("watermarked/900.parquet", here.read(here.landing, "watermarked/000.parquet") or b"")
    third = here.score("watermarked", key="third")
    assert third.outcome["receipt"]["listed"] == 1, third.report


def test_the_same_key_is_the_same_run_and_another_body_is_refused(here: Estate) -> None:
    run = here.score("nothing-new", key="again")
    status, answer = here.world.api(
        "runs", method="POST", body={"workload": "nothing-new"}, headers={"Idempotency-Key": "again"}
    )
    assert (status, answer["id"], answer["fresh"]) == (202, run.id, False)
    status, answer = here.world.api(
        "runs",
        method="POST",
        body={"workload": "nothing-new", "reason": "other"},
        headers={"Idempotency-Key": "again"},
    )
    assert status == 422, answer
