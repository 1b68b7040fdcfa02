"""The Azure ML environments that jobs and deployments run in: an image, under a version that names all it is made of.

For jobs no conda file: that would have Azure ML build an image before the first job, on a cluster that costs quota. The
agent's bootstrap brings its own Python where the image's is not enough. Deployments have one: their image is built once
for a version, which is why the version is the digest of what goes in.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node import package
from shared.azure import ml_client
from shared.config import settings
from shared.domain.errors import PlatformError
from shared.domain.serving import EnvironmentRef

logger = logging.getLogger(__name__)

NAME = "muster-node"
SERVING, IMAGE = "muster-serving", "muster-image"
PYTHON = "3.13"  # as on rented machines: a model is loaded by what it was scored with
INFERENCE_SERVER = "azureml-inference-server-http==1.5.1"
_PORT = 5001  # of Azure ML's inference server, in images that bring one


def environment_version(image: str) -> str:
    """A version is never changed (its image is written once), so another image is another version."""
    return hashlib.sha256(image.encode()).hexdigest()[:12]


def ensure_environment() -> str:
    """The ARM id of the environment of the configured image; made if it is not there.

    Raises PlatformError if that version holds another image.
    """
    image = settings().ml_image
    made = {"image": image, "osType": "Linux", "description": "Where Muster's agent runs"}
    return _ensure(NAME, environment_version(image), made)


def serving_environment(wanted: EnvironmentRef) -> str:
    """The ARM id of the environment that a deployment runs in; made if it is not there.

    A version of the workspace is taken as it is. An image by digest must bring an inference server on port 5001. Without
    either it is Muster's own: the image of the settings, with Azure ML's inference server and what models are made with.
    """
    if wanted.name:
        return _id(wanted.name, wanted.version)
    if wanted.image:
        routes = {"livenessRoute": "/", "readinessRoute": "/", "scoringRoute": "/score"}
        made: dict[str, Any] = {
            "image": wanted.image,
            "osType": "Linux",
            "inferenceConfig": {name: {"path": path, "port": _PORT} for name, path in routes.items()},
        }
        return _ensure(IMAGE, environment_version(wanted.image), made)
    image, conda = settings().ml_image, conda_file()
    made = {
        "image": image,
        "condaFile": conda,
        "osType": "Linux",
        "description": "Where Muster's models serve",
    }
    return _ensure(SERVING, environment_version(f"{image}\n{conda}"), made)


def conda_file() -> str:
    """What Azure ML builds Muster's serving image with. JSON is YAML, and has one spelling."""
    packages = [INFERENCE_SERVER, *_agent_packages()]
    environment = {
        "name": SERVING,
        "channels": ["conda-forge"],
        "dependencies": [f"python={PYTHON}", "pip", {"pip": packages}],
    }
    return json.dumps(environment, indent=1)


def _agent_packages() -> list[str]:
    """What the agent has on rented machines, pinned: models are made and scored with these."""
    lines = Path(package.__file__).with_name("requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _ensure(name: str, version: str, made: Mapping[str, Any]) -> str:
    what = f"environment {name}:{version}"
    operations = ml_client.client().environment_versions
    seen = ml_client.looked(operations.get, f"read {what}", name, version)
    if seen.is_missing:
        seen = ml_client.sent(
            operations.create_or_update, f"create {what}", name, version, {"properties": made}
        )
        logger.info("environment made", extra={"environment": what, "image": made["image"]})
    found = seen.body["properties"]
    if found.get("image") != made["image"]:
        raise PlatformError(
            f"{what} holds image {found.get('image')}, not {made['image']}",
            code="EnvironmentChanged",
            target=seen.body.get("id"),
        )
    return _id(name, version)


def _id(name: str, version: str) -> str:
    return f"{ml_client.workspace().id}/environments/{name}/versions/{version}"
