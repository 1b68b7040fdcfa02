"""A version in Azure ML's registry points to the blobs that Muster wrote, says where they came from, and stays so."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from shared.azure import blob, ml_client, ml_datastores, ml_registry
from shared.domain.errors import ConflictError
from tests.support.cloud import Cloud, environment

TAGS = {"run": "train-flights-manual-0123456789abcdef", "causedBy": "muster", "auc": "0.71"}


@pytest.fixture
def model(cloud: Cloud) -> str:
    """A model of its own with two versions in Blob Storage."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    for version in ("1", "2"):
        blob.create_only("models", f"{name}/{version}/model.joblib", b"x")
    return name


def _register(model: str, version: str, *, prefix: str = "", tags: dict[str, str] | None = None) -> str:
    return ml_registry.register_version(
        model, version, container="models", prefix=prefix or f"{model}/{version}/", tags=tags or TAGS
    )


def _version(model: str, version: str) -> dict[str, Any]:
    seen = ml_client.looked(ml_client.client().model_versions.get, "read", model, version)
    properties: dict[str, Any] = seen.body["properties"]
    return properties


def test_a_version_points_to_the_blobs_and_carries_its_lineage(cloud: Cloud, model: str) -> None:
    id_ = _register(model, "1")

    found = _version(model, "1")
    assert id_.endswith(f"/models/{model}/versions/1")
    assert found["modelUri"].endswith(f"/datastores/models/paths/{model}/1/")
    assert found["tags"] == TAGS


def test_registering_twice_is_registering_once_with_the_newest_tags(cloud: Cloud, model: str) -> None:
    first = _register(model, "1")

    assert _register(model, "1", tags={**TAGS, "auc": "0.72"}) == first
    assert _version(model, "1")["tags"]["auc"] == "0.72"


def test_a_version_never_comes_to_mean_other_files(cloud: Cloud, model: str) -> None:
    _register(model, "1")

    with pytest.raises(ConflictError, match="other files"):
        _register(model, "1", prefix=f"{model}/2/")

    assert _version(model, "1")["modelUri"].endswith(f"{model}/1/")


def test_a_datastore_that_is_not_there_is_made_and_one_of_another_container_is_refused(cloud: Cloud) -> None:
    datastores = ml_client.client().datastores
    container = f"c-{uuid.uuid4().hex[:8]}"
    made = ml_datastores.datastore_uri(container)
    assert made.endswith(f"/datastores/{container}")

    other = f"d-{uuid.uuid4().hex[:8]}"
    body = {
        "properties": {
            "datastoreType": "AzureBlob", "accountName": "musterdev", "containerName": container,
            "credentials": {"credentialsType": "None"},
        }
    }  # fmt: skip
    ml_client.sent(datastores.create_or_update, "create", other, body)
    with pytest.raises(ConflictError, match="rename it"):
        ml_datastores.datastore_uri(other)


def test_without_a_workspace_nothing_is_asked_of_azure(cloud: Cloud) -> None:
    since = cloud.mark()
    with environment({"MUSTER_ML_WORKSPACE": ""}):
        assert _register("nobody", "1") == ""

    assert cloud.requests(since=since) == []
