"""What a machine is told to do is checked before anything is opened."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from node.errors import JobSpecError
from node.fields import is_safe_name
from node.job import decode_reference, parse_job
from tests.node.estate import ACCOUNT_URL, REFUSED_CLIENT_ID
from tests.node.jobs import Bench, as_parquet, some_rows

JOB: dict[str, Any] = {
    "schema": "muster.score-job/1",
    "run": "score-flights-nightly-20130201T070000Z",
    "job": "b00-e1",
    "account_url": ACCOUNT_URL,
    "state": {"container": "muster", "prefix": "runs/score-flights-nightly-20130201T070000Z/"},
    "model": {
        "container": "models",
        "prefix": "flights-delay/1/",
        "name": "flights-delay",
        "version": "1",
        "flavor": "sklearn",
        "sha256": "0" * 64,
    },
    "code": None,
    "output": {"container": "scores", "path": "flights/20130201T070000Z/"},
    "attempts": 3,
    "workers": 2,
    "shards": [
        {
            "id": "00000",
            "key": "0123456789abcdef",
            "items": [{"container": "landing", "blob": "flights/a.parquet", "etag": "0x8D", "size": 1}],
        }
    ],
    "something a later app may add": True,
}


def _changed(path: str, value: Any) -> bytes:
    job = json.loads(json.dumps(JOB))
    *steps, last = path.split(".")
    place = job
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value
    return json.dumps(job).encode()


def test_a_job_names_its_blobs_as_the_layout_says() -> None:
    job = parse_job(json.dumps(JOB).encode(), ACCOUNT_URL)

    assert (
        job.state_blob("shards", "00000") == "runs/score-flights-nightly-20130201T070000Z/shards/00000.json"
    )
    assert job.part_blob(job.shards[0]) == "flights/20130201T070000Z/part-00000-0123456789abcdef.parquet"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema", "muster.score-job/2", "job.schema: 'muster.score-job/2' is not"),
        ("account_url", "https://elsewhere.blob.core.windows.net", "job.account_url"),
        ("run", "../other", "job.run"),
        ("job", "a..b", "job.job"),
        ("state.prefix", "runs/../other/", "job.state.prefix"),
        ("state.container", "$root", "job.state.container"),
        ("output.path", "/absolute", "job.output.path"),
        ("output.path", "a/%2e%2e/b", "job.output.path"),
        ("output.path", "a\\..\\b", "job.output.path"),
        ("model.prefix", "a/\x00/b", "job.model.prefix"),
        ("model.sha256", "abc", "job.model.sha256"),
        ("model", None, "neither a model nor code"),
        ("attempts", 0, "job.attempts: an integer from 1"),
        ("workers", True, "job.workers"),
        ("shards", {}, "job.shards: a list is expected"),
        ("shards.0.items", [], "job.shards[0].items: a list that is not empty"),
        ("shards.0.id", "../0", "job.shards[0].id"),
        ("shards.0.key", "KEY", "job.shards[0].key"),
        ("shards.0.items.0.etag", 'a"\r\nX: y', "job.shards[0].items[0].etag"),
        ("shards.0.items.0.container", "a/b", "job.shards[0].items[0].container"),
        ("shards", [JOB["shards"][0], JOB["shards"][0]], "two shards have the same id"),
    ],
)
def test_a_job_that_is_wrong_anywhere_is_refused_with_the_place(path: str, value: Any, said: str) -> None:
    with pytest.raises(JobSpecError) as refused:
        parse_job(_changed(path, value), ACCOUNT_URL)

    assert said in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"[" * 100_000, "ä".encode("latin-1")])
def test_what_is_no_job_is_refused(data: bytes) -> None:
    with pytest.raises(JobSpecError):
        parse_job(data, ACCOUNT_URL)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "a/../b",
        "./a",
        "/a",
        "a\\b",
        "a\x00b",
        "a\nb",
        "%2e%2e/a",
        "%252e%252e/a",
        "a/%2E%2e",
        "x" * 1025,
    ],
)
def test_a_name_that_leaves_its_place_is_not_safe(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize(
    "name", ["a", "a/b.parquet", "a..b", "...", "a//b", "üé/日本.csv", "50%.csv", "a b+c"]
)
def test_an_odd_name_that_stays_in_its_place_is_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "account_url",
    [
        "http://musterdev.blob.core.windows.net",
        "https://musterdev.blob.core.windows.net.example.com",
        "https://169.254.169.254",
        "https://x@musterdev.blob.core.windows.net",
        "https://musterdev.blob.core.windows.net:8443",
        "https://musterdev.blob.core.windows.net/other?a=b",
        "https://example.com/?.blob.core.windows.net",
        "file:///etc/passwd",
    ],
)
def test_the_machines_token_goes_to_no_other_place(account_url: str) -> None:
    reference = {"account_url": account_url, "container": "muster", "blob": "j.json", "sha256": "0" * 64}

    with pytest.raises(JobSpecError, match="account_url"):
        decode_reference(base64.b64encode(json.dumps(reference).encode()).decode())


def _bench_with_a_job(bench: Bench, model: Any) -> Bench:
    bench.sklearn(model)
    bench.shard(bench.item("flights/1.parquet", as_parquet(some_rows(1))))
    return bench


def test_an_unusable_job_ends_with_2_and_says_so_where_progress_is_looked_for(
    bench: Bench, model: Any
) -> None:
    _bench_with_a_job(bench, model).job["attempts"] = "three"

    code, log = bench.score()

    assert code == 2, log
    progress = bench.progress()
    assert (progress["state"], progress["exit_code"]) == ("failed", 2)
    assert progress["error"] == {
        "type": "JobSpecError",
        "message": "job.attempts: an integer from 1 to 20 is expected",
    }


def test_a_job_whose_shards_are_all_committed_already_is_done(bench: Bench, model: Any) -> None:
    bench.sklearn(model)

    code, log = bench.score()

    assert code == 0, log
    assert (bench.progress()["state"], bench.progress()["shards_total"]) == ("succeeded", 0)


def test_a_reference_that_is_none_ends_with_2(bench: Bench) -> None:
    code, log = bench.score(reference="$(touch /tmp/x)")

    assert (code, "not base64" in log) == (2, True)


def test_a_job_whose_bytes_were_changed_is_not_run(bench: Bench, model: Any) -> None:
    from node.package import BlobReference, job_reference
    from tests.node.estate import CLIENT_ID

    stored = _bench_with_a_job(bench, model).stored_job()
    promised = BlobReference(stored.container, stored.blob, "0" * 64)

    code, log = bench.score(reference=job_reference(ACCOUNT_URL, promised, CLIENT_ID))

    assert (code, "promised 000" in log) == (2, True)
    assert bench.parts() == {}


def test_storage_that_refuses_ends_with_4(bench: Bench, model: Any) -> None:
    code, log = _bench_with_a_job(bench, model).score(client_id=REFUSED_CLIENT_ID)

    assert code == 4, log
    assert "StorageRefused" in log


def test_an_output_container_that_is_not_there_ends_with_4(bench: Bench, model: Any) -> None:
    _bench_with_a_job(bench, model).job["output"]["container"] = "nowhere"

    code, log = bench.score()

    assert code == 4, log
    assert bench.progress()["error"]["type"] == "StorageRefused"
    assert "ContainerNotFound" in bench.progress()["error"]["message"]
