"""The Azure ML environment that jobs run in: an image of Azure ML's own, under a version that names it.

No conda file: that would have Azure ML build an image before the first job, on a cluster that costs quota. The agent's
bootstrap brings its own Python where the image's is not enough.
"""

from __future__ import annotations

import hashlib
import logging

from shared.azure import ml_client
from shared.config import settings
from shared.domain.errors import PlatformError

logger = logging.getLogger(__name__)

NAME = "muster-node"


def environment_version(image: str) -> str:
    """A version is never changed (its image is written once), so another image is another version."""
    return hashlib.sha256(image.encode()).hexdigest()[:12]


def ensure_environment() -> str:
    """The ARM id of the environment of the configured image; made if it is not there.

    Raises PlatformError if that version holds another image.
    """
    image = settings().ml_image
    version = environment_version(image)
    what = f"environment {NAME}:{version}"
    operations = ml_client.client().environment_versions
    seen = ml_client.looked(operations.get, f"read {what}", NAME, version)
    if seen.is_missing:
        body = {"properties": {"image": image, "osType": "Linux", "description": "Where Muster's agent runs"}}
        seen = ml_client.sent(operations.create_or_update, f"create {what}", NAME, version, body)
        logger.info("environment made", extra={"environment": what, "image": image})
    if seen.body["properties"].get("image") != image:
        raise PlatformError(
            f"{what} holds image {seen.body['properties'].get('image')}, not {image}",
            code="EnvironmentChanged",
            target=seen.body.get("id"),
        )
    return f"{ml_client.workspace().id}/environments/{NAME}/versions/{version}"
