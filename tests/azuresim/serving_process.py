"""A simulator that serves one deployment until it is killed. Prints the process that serves once it does."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import requests

from localdev.azuresim import Simulator
from localdev.azuresim.serving import ServedModel
from localdev.azuresim.world import World
from tests.azuresim.azure_client import Azure, until


def main(code: Path) -> None:
    def launch(world: World) -> None:
        assert world.serving is not None
        world.serving.launch("alone", "blue", ServedModel(code, "score.py", code))
        world.serving.route("alone", {"blue": 100}, ("key",))

    with Simulator() as simulator:
        simulator.act(launch)
        azure = Azure(simulator)
        url = "https://alone.westeurope.inference.ml.azure.com/score"

        def ask() -> requests.Response:
            return azure.plain("POST", url, json={"process": 1}, headers={"Authorization": "Bearer key"})

        print(until(ask, lambda answer: answer.status_code == 200).json()["process"], flush=True)
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
