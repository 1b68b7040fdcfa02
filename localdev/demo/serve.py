"""`make serve`: the same stack, kept up, with its state kept between times."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

from localdev.clock import Clock
from localdev.demo import champion, flights
from localdev.demo.run import say
from localdev.demo.world import World, blob_service

SERVED = "serve.json"


def main(state: Path, *, port: int, speed: float) -> int:
    """Serve until Ctrl-C; then leave no process, no port and no machine behind."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    folder = state / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    clock_file = folder / "clock.json"
    clock = Clock(clock_file) if clock_file.exists() else Clock.create(clock_file)
    clock.set_speed(speed)
    with World(folder, clock=clock, port=port) as world:
        service = blob_service(world.environment["MUSTER_STORAGE_ACCOUNT_URL"])
        if not (folder / "prepared").exists():
            flights.upload_month(service.get_container_client("landing"), "flights/")
            champion.train_and_store(service.get_container_client("models"), "flights-delay")
            (folder / "prepared").touch()
        world.start_app()
        served = state / SERVED
        served.touch(mode=0o600)
        served.write_text(json.dumps({"url": world.url, "key": world.key}))
        try:
            _print_urls(world)
            stop.wait()
            say("stopping")
        finally:
            served.unlink(missing_ok=True)
    return 0


def _print_urls(world: World) -> None:
    print(
        f"""
  API          {world.url}/api/runs          (header x-functions-key: {world.key})
  leases       {world.url}/api/leases
  health       {world.url}/api/health
  Event Grid   {world.url}/runtime/webhooks/EventGrid?functionName=NAME
  simulator    {world.control_url}/bill, /resources, /events
  command line .venv/bin/python -m shared.cli run flights-nightly; ... runs; ... explain RUN; ... cancel RUN; ... leases
  Ctrl-C stops everything; `make serve` carries on where it was.
""",
        flush=True,
    )
