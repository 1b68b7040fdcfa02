"""A challenger that won is registered once, with where it came from, and takes the title only from whom it beat."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities import registry
from shared.azure import blob, ledger, ml_client
from shared.domain import names
from shared.domain.errors import ConflictError, NotFoundError
from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import BlobRef
from shared.domain.registry import ModelQuery, ModelRef
from shared.domain.retrain import FrozenData, Registration, RetrainRequest, TrialResult
from shared.domain.retraining import Retraining
from shared.domain.workload import parse_workload
from tests.events.retrainings import deployed
from tests.support.cloud import Cloud, environment
from tests.support.deployments import deployment

pytestmark = pytest.mark.usefixtures("cloud")

DATA = FrozenData(manifest=BlobRef(container="muster", blob="runs/r/data.json", sha256="d" * 64))
PROMOTE = Verdict(ruling=Ruling.PROMOTE, reason="auc 0.70 -> 0.72")
BOMB = b"cos\nsystem\n(S'touch /tmp/muster-was-here'\ntR."  # a pickle: it may be copied, never loaded


def _workload(model: str, **changes: Any) -> Retraining:
    declared = {
        "kind": "Retraining",
        "name": f"w-{uuid.uuid4().hex[:8]}",
        "data": {"container": "landing", "prefix": "in/", "test": {"newest": 1}, "label": "late"},
        "model": {"name": model},
        "training": {"code": "workloads"},
        "trials": {"count": 2, "space": {"a": {"choice": [1, 2]}}},
        "compute": {"platform": "dsvm"},
        **changes,
    }
    parsed = parse_workload(yaml.safe_dump(declared), source="test", platforms=("dsvm",))
    assert isinstance(parsed, Retraining)
    return parsed


def _won(
    model: str, *, champion: ModelRef | None = None, content: bytes = BOMB, **changes: Any
) -> Registration:
    """A run whose trial t001 won, as its agent leaves it."""
    workload = _workload(model, **changes)
    slot = f"manual-{uuid.uuid4().hex[:16]}"
    run = names.train_run_id(workload.name, slot)
    digest = hashlib.sha256(content).hexdigest()
    prefix = f"runs/{run}/trials/t001/{digest[:16]}/"
    card = {
        "flavor": "sklearn", "file": "model.joblib", "sha256": digest, "size": len(content),
        "inputs": [{"name": "distance", "type": "double"}], "output": {"name": "p", "type": "double"}, "keys": ["id"],
    }  # fmt: skip
    blob.create_only("muster", f"{prefix}model.joblib", content)
    blob.create_only("muster", f"{prefix}MODEL.json", json.dumps(card).encode())
    code = {"container": "muster", "blob": "code/t.zip", "sha256": "c" * 64, "entry": "train.py"}
    ledger.create(f"runs/{run}/jobs/t001-e1.json", {"code": code})
    ledger.create(
        f"runs/{run}/trials/t001.json",
        {
            "trial": "t001", "job": "t001-e1", "status": "valid", "reason": "", "metrics": {"auc": 0.72},
            "parameters": {"a": 2}, "seconds": 5.0,
            "model": {"container": "muster", "prefix": prefix, "file": "model.joblib", "sha256": digest,
                      "flavor": "sklearn"},
        },
    )  # fmt: skip
    request = RetrainRequest(
        run=run, slot=slot, workload=workload, started_by="event", cause="e" * 32, evidence=("e" * 32,)
    )
    trial = TrialResult(trial="t001", valid=True, metric=0.72)
    return Registration(request=request, data=DATA, trial=trial, champion=champion, verdict=PROMOTE)


@pytest.fixture
def model() -> str:
    return f"m-{uuid.uuid4().hex[:8]}"


def _champion(model: str) -> ModelRef:
    return registry.read_model(ModelQuery(name=model))


def test_the_first_model_is_version_1_and_champion_and_reads_back_as_any_model(model: str) -> None:
    registered = registry.register_model(_won(model))

    assert registered.promoted and registered.note == ""
    assert str(registered.model) == f"{model}:1"
    assert _champion(model) == registered.model
    assert blob.read("models", f"{model}/1/model.joblib") == BOMB


def test_a_version_says_where_it_came_from(model: str) -> None:
    won = _won(model)
    registry.register_model(won)

    lineage = blob.read_json("models", f"{model}/1/LINEAGE.json")
    assert lineage["run"] == won.request.run and lineage["parameters"] == {"a": 2}
    assert lineage["data"] == DATA.manifest.model_dump() and lineage["code"]["sha256"] == "c" * 64
    assert lineage["cause"] == "e" * 32
    card = blob.read_json("models", f"{model}/1/MODEL.json")
    assert (card["name"], card["version"], card["metrics"]["auc"]) == (model, "1", 0.72)


def test_azure_ml_has_it_with_tags_that_tell_it_as_our_own_doing(model: str) -> None:
    won = _won(model)
    registry.register_model(won)

    seen = ml_client.looked(ml_client.client().model_versions.get, "read", model, "1").body["properties"]
    assert seen["modelUri"].endswith(f"/datastores/models/paths/{model}/1/")
    assert seen["tags"]["run"] == won.request.run and seen["tags"]["causedBy"].startswith("muster")
    assert seen["tags"]["dataDigest"] == "d" * 64 and seen["tags"]["metric.auc"] == "0.72"


def test_registering_again_is_registering_once(model: str) -> None:
    won = _won(model)
    first = registry.register_model(won)

    assert registry.register_model(won) == first
    assert not list(blob.list_blobs("models", f"{model}/2/"))


def test_an_interrupted_registration_goes_on_with_its_own_version(model: str) -> None:
    """What a crash leaves after each of the steps: the lineage alone; files; the title not yet moved."""
    won = _won(model)
    whole = registry.register_model(won)
    for lost in ([f"{model}/champion.json"], [f"{model}/champion.json", f"{model}/1/MODEL.json"]):
        for name in lost:
            blob.delete("models", name)
        assert registry.register_model(won) == whole
        assert _champion(model) == whole.model


def test_the_next_model_takes_the_title_from_whom_it_was_compared_with(model: str) -> None:
    first = registry.register_model(_won(model)).model

    second = registry.register_model(_won(model, champion=first, content=b"other"))

    assert second.promoted and str(second.model) == f"{model}:2"
    assert _champion(model) == second.model


def test_a_title_that_went_to_another_meanwhile_is_not_taken(model: str) -> None:
    first = registry.register_model(_won(model)).model
    late = _won(model, champion=first, content=b"late")
    second = registry.register_model(_won(model, champion=first, content=b"second")).model

    registered = registry.register_model(late)

    assert not registered.promoted and registered.deployment == ""
    assert "not champion any more" in registered.note
    assert _champion(model) == second


def test_a_first_model_does_not_replace_a_champion_that_appeared_meanwhile(model: str) -> None:
    late = _won(model, content=b"late")
    first = registry.register_model(_won(model)).model

    assert not registry.register_model(late).promoted
    assert _champion(model) == first


def test_two_runs_never_share_a_version(model: str) -> None:
    runs = [_won(model, content=str(n).encode()) for n in range(3)]

    versions = [str(registry.register_model(run).model) for run in (*runs, *runs)]

    assert versions == [f"{model}:{n}" for n in (1, 2, 3, 1, 2, 3)]


def test_versions_with_names_of_their_own_are_in_nobody_s_way(model: str) -> None:
    blob.create_only("models", f"{model}/2026-03/model.joblib", b"x")
    blob.create_only("models", f"{model}/7/model.joblib", b"x")

    assert str(registry.register_model(_won(model)).model) == f"{model}:8"


def test_a_file_that_is_not_what_its_trial_recorded_is_not_registered(model: str) -> None:
    won = _won(model)
    record = blob.read_json("muster", f"runs/{won.request.run}/trials/t001.json")
    blob.delete("muster", f"{record['model']['prefix']}model.joblib")
    blob.create_only("muster", f"{record['model']['prefix']}model.joblib", b"swapped")

    with pytest.raises(ConflictError, match="not the file"):
        registry.register_model(won)
    with pytest.raises(NotFoundError):
        _champion(model)


def test_a_deployment_is_asked_for_where_one_is_declared_and_nowhere_else(model: str) -> None:
    asked = _won(model, deploy={"workload": "flights-live"})
    registered = registry.register_model(asked)

    assert registered.deployment == f"deployments/requests/{asked.request.run}.json"
    assert blob.read_json("muster", registered.deployment)["model"]["version"] == "1"
    silent = registry.register_model(_won(model, champion=registered.model, content=b"next"))
    assert silent.deployment == ""


def test_a_declared_deployment_is_claimed_once_for_the_tick_to_start(
    cloud: Cloud, model: str, tmp_path: Path
) -> None:
    serves, others = deployment("serves-it", model={"name": model}), deployment("serves-others")
    with deployed(cloud, tmp_path, serves, others):
        asked = _won(model, deploy={"workload": "serves-it"})
        registered = registry.register_model(asked)
        assert registry.register_model(asked) == registered
        registry.register_model(
            _won(model, champion=registered.model, content=b"n", deploy={"workload": "serves-others"})
        )

    assert ledger.list_paths("claims/deploy-serves-others-") == []
    (path,) = ledger.list_paths("claims/deploy-serves-it-event-")
    request = (ledger.read(path) or {})["request"]
    assert (request["version"], request["cause"], request["evidence"]) == ("1", "e" * 32, [asked.request.run])
    assert (request["started_by"], request["requested_by"]) == ("event", "")
    assert ledger.exists(path.replace("claims/", "claims/unstarted/"))


def test_without_a_workspace_the_store_of_record_has_it_and_the_note_says_so(model: str) -> None:
    with environment({"MUSTER_ML_WORKSPACE": ""}):
        registered = registry.register_model(_won(model))

    assert registered.promoted and "MUSTER_ML_WORKSPACE" in registered.note
