"""What the control plane says about a deployment that is to be served, and what it is told back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Phase = Literal["absent", "starting", "running", "crash_loop", "out_of_memory"]
Kind = Literal["kubernetes", "managed"]


class BlobFolder(NamedTuple):
    """Everything below a prefix of a container of the simulated account; fetched by the instance as it starts."""

    container: str
    prefix: str


@dataclass(frozen=True)
class ServedModel:
    """One deployment. `code` None: the entry script lies in the model's folder.

    `entry` is relative to `code`; `environment` are the deployment's own variables; `client_id` is the identity its
    programs get tokens of ("" for none). `max_concurrent`, `timeout_s` and `queue_wait_s` are its requestSettings, in
    wall seconds.
    """

    code: Path | BlobFolder | None
    entry: str
    model: Path | BlobFolder
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 2048
    instances: int = 1
    max_concurrent: int = 1
    timeout_s: float = 5.0
    queue_wait_s: float = 0.5
    client_id: str = ""


class Health(NamedTuple):
    """`phase` of all instances together, the worst first; `log` is the end of what they wrote."""

    phase: Phase
    log: str
