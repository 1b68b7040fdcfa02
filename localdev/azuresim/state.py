"""The world on disk: saved before an answer leaves, so that a simulator that was killed knows all it ever promised."""

from __future__ import annotations

import json
from pathlib import Path

from localdev.azuresim.world import World


class SavedWorld:
    """One JSON file, replaced whole. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "world.json" if folder else None

    def load(self, world: World) -> bool:
        """True if there was a world; its machines' processes died with the simulator that ran them."""
        if self._path is None or not self._path.exists():
            return False
        world.load(json.loads(self._path.read_text()))
        world.scheduler.at(world.now(), "scripts.abandon")
        world.scheduler.at(world.now(), "jobs.abandon")
        return True

    def save(self, world: World) -> None:
        if self._path is None:
            return
        fresh = self._path.with_suffix(".tmp")
        fresh.write_text(json.dumps(world.dump()))
        fresh.replace(self._path)
