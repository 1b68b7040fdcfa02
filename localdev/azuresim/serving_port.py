"""What the control plane of online endpoints asks of the servers behind it, and nothing more.

Names are those of Azure: an endpoint's and a deployment's. No call waits; all are made on the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

ServerState = Literal["starting", "running", "crash_loop", "out_of_memory"]


@dataclass(frozen=True)
class ServedModel:
    """One deployment as its container would see it.

    `code_dir` is None for a model that is served without code. `env` is the container's whole environment: the
    network of a node, its identity, AZUREML_MODEL_DIR, and what the deployment asked for. `memory_mb` bounds each of
    the `instances`.
    """

    code_dir: Path | None
    entry: str
    model_dir: Path
    env: Mapping[str, str]
    memory_mb: int
    instances: int


class Serving(Protocol):
    def launch(self, endpoint: str, deployment: str, served: ServedModel) -> None:
        """Start a deployment's servers, in the place of those it has."""

    def state(self, endpoint: str, deployment: str) -> tuple[ServerState, str]:
        """How they are, and the end of their log. Raises KeyError if nothing was launched."""

    def stop(self, endpoint: str, deployment: str) -> None:
        """End a deployment's servers and forget them. Safe to repeat."""

    def logs(self, endpoint: str, deployment: str, tail: int) -> str:
        """The last `tail` lines; "" if there are none."""

    def route(self, endpoint: str, weights: Mapping[str, int], keys: Sequence[str]) -> None:
        """Share an endpoint's requests so from now on, for callers with one of these keys."""

    def forget(self, endpoint: str) -> None:
        """The endpoint is gone, with all its deployments. Safe to repeat."""
