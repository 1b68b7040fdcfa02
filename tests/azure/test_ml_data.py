"""What a retraining froze is one data asset of Azure ML, under the version that its digest is."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from shared.azure import ml_client, ml_data
from shared.domain.errors import ConflictError
from shared.domain.jobs import BlobRef
from tests.support.cloud import Cloud, environment

TAGS = {"run": "train-flights-manual-0123456789abcdef", "causedBy": "muster"}


@pytest.fixture
def name(cloud: Cloud) -> str:
    return f"d-{uuid.uuid4().hex[:8]}-data"


def _manifest(digest: str = "ab" * 32, run: str = "train-r") -> BlobRef:
    return BlobRef(container="muster", blob=f"runs/{run}/data.json", sha256=digest)


def _properties(name: str) -> dict[str, Any]:
    seen = ml_client.looked(
        ml_client.client().data_versions.get, "read", name, ml_data.version_of(_manifest())
    )
    return dict(seen.body["properties"])


def test_the_manifest_is_a_version_named_by_its_digest_with_where_it_came_from(name: str) -> None:
    asset = ml_data.register_data(name, _manifest(), tags=TAGS)

    made = _properties(name)
    assert asset.endswith(f"/data/{name}/versions/abababababababab")
    assert ml_data.short_name(asset) == f"azureml:{name}:abababababababab"
    assert made["dataType"] == "uri_file"
    assert made["dataUri"].endswith("/datastores/muster/paths/runs/train-r/data.json")
    assert made["tags"] == {**TAGS, "digest": "ab" * 32}


def test_the_same_data_frozen_again_is_the_same_asset_and_keeps_whose_it_was(name: str) -> None:
    first = ml_data.register_data(name, _manifest(), tags=TAGS)
    again = ml_data.register_data(name, _manifest(run="train-later"), tags={"run": "train-later"})

    assert first == again
    assert _properties(name)["tags"]["run"] == TAGS["run"]


def test_a_version_of_other_data_is_not_taken_for_ours(name: str) -> None:
    ml_data.register_data(name, _manifest(), tags=TAGS)

    with pytest.raises(ConflictError, match="other data"):
        ml_data.register_data(name, _manifest("ab" * 8 + "cd" * 24), tags=TAGS)


def test_without_a_workspace_nothing_is_asked_of_azure(cloud: Cloud) -> None:
    since = cloud.mark()
    with environment({"MUSTER_ML_WORKSPACE": ""}):
        assert ml_data.register_data("nobody", _manifest(), tags=TAGS) == ""

    assert cloud.requests(since=since) == []
