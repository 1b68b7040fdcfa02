"""Models by name and version, and the one that is champion."""

from __future__ import annotations

from shared.domain.wire import Wire

CHAMPION = "champion"


class ModelQuery(Wire):
    name: str
    version: str = CHAMPION


class ModelRef(Wire):
    """A fixed version of a model: never an alias. `sha256` is the digest of the model file."""

    name: str
    version: str
    flavor: str
    container: str
    prefix: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"
