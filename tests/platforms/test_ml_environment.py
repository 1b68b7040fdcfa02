"""The environment that jobs on clusters run in."""

from __future__ import annotations

import pytest

from shared.azure import arm, ml_client, ml_environments
from shared.config import settings
from shared.domain.errors import PlatformError
from tests.support.cloud import Cloud, environment


def test_the_environment_is_one_version_for_one_image(cloud: Cloud) -> None:
    id_ = ml_environments.ensure_environment()
    answer = arm.request("GET", id_, api_version=ml_client.ML_API, target="read the environment")

    assert answer.body["properties"]["image"] == settings().ml_image
    assert id_.endswith(ml_environments.environment_version(settings().ml_image))
    assert ml_environments.environment_version("another") != ml_environments.environment_version(
        settings().ml_image
    )


def test_an_environment_that_holds_another_image_is_refused(cloud: Cloud) -> None:
    version = ml_environments.environment_version("ours:1")
    body = {"properties": {"image": "theirs:1", "osType": "Linux"}}
    operations = ml_client.client().environment_versions
    ml_client.sent(operations.create_or_update, "write it", ml_environments.NAME, version, body)

    with (
        environment({"MUSTER_ML_IMAGE": "ours:1"}),
        pytest.raises(PlatformError, match=r"holds image theirs:1, not ours:1"),
    ):
        ml_environments.ensure_environment()
