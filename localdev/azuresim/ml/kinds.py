"""The kinds of assets a workspace keeps: what a version of each may hold, and what of it may never change.

Members and mutability: mfe.json 2023-04-01-preview and 2023-08-01-preview (`x-ms-mutability` of ModelVersion,
DataVersionBase, EnvironmentVersion, CodeVersion, ComponentVersion). Texts of refusals: azure-cli-extensions issue 5440
(environments), public error logs (data), azure-ai-ml's own ASSET_PATH_ERROR (models and code).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localdev.azuresim.ml.common import WORKSPACES

COMMON = ("description", "properties", "tags", "isAnonymous", "isArchived", "autoDeleteSetting", "stage")
# What a GET shows and a PUT of the same document sends back; read and dropped.
READ_ONLY = ("provisioningState", "environmentType", "latestVersion", "nextVersion")
_PATHS_ARE_FIXED = "Asset paths cannot be updated."


@dataclass(frozen=True)
class Kind:
    """`plural` is its segment in a path, `title` what it is called in texts; `changed` refuses a change of `frozen`."""

    plural: str
    title: str
    frozen: tuple[str, ...]
    changed: str
    free: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    has_state: bool = True  # does it show a provisioningState?

    @property
    def containers(self) -> str:
        return f"{WORKSPACES}/{self.plural}"

    @property
    def versions(self) -> str:
        return f"{self.containers}/versions"

    @property
    def members(self) -> set[str]:
        return {*COMMON, *self.frozen, *self.free, *READ_ONLY}


MODELS = Kind(
    "models",
    "Model",
    ("modelUri",),
    _PATHS_ARE_FIXED,
    free=("modelType", "jobName", "flavors"),
    required=("modelUri",),
    # The SDK reads the flavors of every model, though the specification has them optional.
    defaults={"modelType": "custom_model", "flavors": {}},
)
CODES = Kind("codes", "Code", ("codeUri",), _PATHS_ARE_FIXED, required=("codeUri",))
DATA = Kind(
    "data",
    "Data",
    ("dataUri", "dataType"),
    "A data version with this name and version already exists. If you are trying to create a new data version, use a "
    "different name or version. If you are trying to update an existing data version, the existing asset's data uri "
    "cannot be changed. Only tags, description, and isArchived can be updated.",
    free=("referencedUris",),
    required=("dataUri", "dataType"),
    has_state=False,
)
ENVIRONMENTS = Kind(
    "environments",
    "Environment",
    ("image", "build", "condaFile", "inferenceConfig", "osType", "autoRebuild"),
    "Environment {name} with version {version} is already registered and cannot be changed.",
    defaults={"osType": "Linux", "environmentType": "UserCreated"},
)
COMPONENTS = Kind(
    "components",
    "Component",
    ("componentSpec",),
    "Component {name} with version {version} is already registered and cannot be changed.",
    required=("componentSpec",),
)
KINDS = (MODELS, CODES, DATA, ENVIRONMENTS, COMPONENTS)
