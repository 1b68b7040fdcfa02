"""A conversion on real storage: its sample frozen once, a job that the agent takes, its record and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest

from activities import conversion, registry, serving
from node.convert_job import parse_convert_job
from shared.azure import blob, ledger
from shared.config import settings
from shared.domain.converting import (
    ConversionWork,
    Converted,
    ConvertJobRequest,
    ConvertRequest,
    KeepRequest,
)
from shared.domain.deploy import LineageQuery
from shared.domain.errors import ConflictError, JobFailed, SpecError
from shared.domain.registry import ModelQuery
from tests.support.conversions import found, parsed

pytestmark = pytest.mark.usefixtures("cloud")

BOMB = b"cos\nsystem\n(S'touch /tmp/muster-was-here'\ntR."  # a pickle: it may be copied, never loaded
GRAPH = b"converted"


@pytest.fixture
def name() -> str:
    return f"m-{uuid.uuid4().hex[:8]}"


def asked(name: str, **changes: Any) -> ConvertRequest:
    """A deployment of a registered version, which its first call stores, on two blobs of its own."""
    card = {
        "name": name, "version": "1", "flavor": "sklearn", "file": "model.joblib", "size": len(BOMB),
        "sha256": hashlib.sha256(BOMB).hexdigest(), "inputs": [{"name": "distance", "type": "double"}],
        "output": {"name": "p", "type": "double"}, "keys": ["id"],
    }  # fmt: skip
    files = {"model.joblib": BOMB, "MODEL.json": json.dumps(card).encode(), "golden.jsonl": b"{}\n"}
    for file, content in files.items():
        blob.create_only("models", f"{name}/1/{file}", content)
    for day in (1, 2, 3):
        blob.create_only("landing", f"{name}/{day}.parquet", b"rows")
    sample = {"container": "landing", "prefix": f"{name}/", "newest": 2}
    declared = parsed(**{**changes, "parity": {"sample": sample, **changes.get("parity", {})}})
    model = registry.read_model(ModelQuery(name=name, version="1"))
    run = f"deploy-{name}-manual-{uuid.uuid4().hex[:16]}"
    return ConvertRequest(run=run, model=model, conversion=declared, started_by="test")


def left(request: ConvertRequest, *, graph: bytes = GRAPH, **changes: Any) -> None:
    """What the agent leaves."""
    sha256 = hashlib.sha256(graph).hexdigest()
    document = found(
        request.run, sha256=sha256, size=len(graph), model_sha256=request.model.sha256, **changes
    )
    blob.create_only("muster", f"runs/{request.run}/conversion/c.onnx", graph)
    blob.create_only("muster", f"runs/{request.run}/conversion.json", json.dumps(document).encode())


def keep(request: ConvertRequest) -> Converted:
    return conversion.keep_conversion(KeepRequest(request=request, usd=0.01))


def test_the_newest_blobs_are_frozen_once_and_the_agent_takes_the_job(name: str) -> None:
    request = asked(name)
    plan = conversion.prepare_conversion(request)
    blob.create_only("landing", f"{name}/4.parquet", b"later")

    assert conversion.prepare_conversion(request) == plan
    assert (plan.is_done, plan.blobs) == (False, 2) and plan.sample is not None
    work = ConversionWork(request=request, sample=plan.sample, offers=())
    written = conversion.write_convert_job(ConvertJobRequest(work=work, epoch=1))
    assert written.job is not None and written.job.id == "convert-e1"
    job = parse_convert_job(blob.read("muster", written.job.job.blob), settings().storage_account_url)
    assert [item.blob for item in job.sample] == [f"{name}/2.parquet", f"{name}/3.parquet"]
    assert (job.model.sha256, job.opset, job.rows) == (request.model.sha256, 21, 5000)

    left(request)
    assert conversion.write_convert_job(ConvertJobRequest(work=work, epoch=2)).job is None
    assert conversion.prepare_conversion(request).is_done


def test_an_empty_sample_ends_it_before_anything_is_bought(name: str) -> None:
    request = asked(name, parity={"sample": {"container": "landing", "prefix": f"{name}/none/"}})

    with pytest.raises(SpecError, match="nothing was bought"):
        conversion.prepare_conversion(request)


def test_what_passes_is_a_version_of_the_model_that_a_deployment_may_take(name: str) -> None:
    request = asked(name)
    left(request)

    kept = keep(request)

    digest = hashlib.sha256(GRAPH).hexdigest()
    assert (
        kept.report.converted
        and kept.model.version == f"1-onnx-{digest[:12]}"
        and kept.model.sha256 == digest
    )
    assert registry.read_model(ModelQuery(name=name, version=kept.model.version)) == kept.model
    assert serving.check_lineage(LineageQuery(model=kept.model)).ok and kept.asset
    lineage = blob.read_json("models", f"{kept.model.prefix}LINEAGE.json")
    assert lineage["convertedFrom"]["sha256"] == request.model.sha256 and ledger.exists(lineage["record"])
    card = blob.read_json("models", f"{kept.model.prefix}MODEL.json")
    assert (card["flavor"], card["keys"], card["inputs"][0]["name"]) == ("onnx", ["id"], "distance")
    assert blob.read("models", f"{kept.model.prefix}golden.jsonl") == b"{}\n"
    assert (ledger.read(f"deployments/{request.run}/conversion.json") or {})["usd"] == 0.01
    assert (
        registry.read_model(ModelQuery(name=name, version="1")) == request.model
    )  # the original stays as it is


def test_a_crash_between_the_record_and_its_use_leaves_what_the_next_call_finishes(name: str) -> None:
    request = asked(name)
    left(request)
    whole = keep(request)
    prefix = whole.model.prefix

    for lost in (
        ["MODEL.json"],
        ["MODEL.json", "golden.jsonl", "model.onnx"],
        ["MODEL.json", "LINEAGE.json", "model.onnx"],
    ):
        for file in lost:
            blob.delete("models", prefix + file)
        assert keep(request) == whole
        assert registry.read_model(ModelQuery(name=name, version=whole.model.version)) == whole.model


def test_the_next_deployment_of_the_version_uses_the_record_again_under_its_own_tolerances(name: str) -> None:
    first = asked(name)
    left(first, max_abs_difference=1e-3)
    assert not keep(first).report.converted
    second = asked(name, parity={"maxAbsDifference": 1e-2})

    assert conversion.prepare_conversion(second).is_done
    kept = keep(second)

    assert kept.report.converted and kept.report.reused
    third = asked(name, parity={"maxAbsDifference": 1e-2})
    assert keep(third).model == kept.model


def test_two_records_that_come_to_the_same_bytes_are_one_version(name: str) -> None:
    first, second = asked(name), asked(name, opset=18)
    left(first)
    left(second)

    assert keep(first).model == keep(second).model
    assert keep(first).report.record != keep(second).report.record


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_sha256": "0" * 64}, "of another model"),
        ({"file": {"blob": "models/other/1/model.joblib", "sha256": "0" * 64, "size": 3}}, "of another run"),
        ({"max_abs_difference": "small"}, "no record of a conversion"),
    ],
)
def test_a_record_that_is_not_of_this_conversion_is_not_believed(
    name: str, changes: dict[str, Any], said: str
) -> None:
    request = asked(name)
    document = {**found(request.run, model_sha256=request.model.sha256), **changes}
    blob.create_only("muster", f"runs/{request.run}/conversion.json", json.dumps(document).encode())

    with pytest.raises(JobFailed, match=said):
        keep(request)


def test_a_file_that_is_not_what_the_record_promised_is_never_a_version(name: str) -> None:
    request = asked(name)
    left(request)
    blob.delete("muster", f"runs/{request.run}/conversion/c.onnx")
    blob.create_only("muster", f"runs/{request.run}/conversion/c.onnx", b"another")

    with pytest.raises(ConflictError, match="not the file"):
        keep(request)
    assert not list(blob.list_blobs("models", f"{name}/1-onnx"))


def test_what_was_refused_says_by_which_numbers_and_stores_nothing(name: str) -> None:
    request = asked(name)
    left(request, label_flips=7)

    kept = keep(request)

    assert not kept.report.converted and kept.model == request.model
    assert "labels flipped at 0.5: 7" in kept.report.reason
    assert not list(blob.list_blobs("models", f"{name}/1-onnx"))
