"""`python -m localdev.demo run | retrain | deploy | serve`: what the `run` commands and `make serve` call."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from localdev.demo import deploy, retrain, run, serve

STATE = Path(".muster")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m localdev.demo")
    commands = parser.add_subparsers(required=True, dest="command")
    once = commands.add_parser(
        "run", help="the nightly batch scoring from the timer to the last orphan check"
    )
    once.add_argument(
        "--speed", type=float, default=20.0, help="how many times faster than the wall the local clock runs"
    )
    once.add_argument("--resume", action="store_true", help="carry on with the run that was cut off")
    once.add_argument(
        "--state", type=Path, default=STATE / "run", help="folder that keeps the world of this run"
    )
    again = commands.add_parser("retrain", help="the retraining, from a monitor's event to the new champion")
    again.add_argument("--speed", type=float, default=20.0)
    again.add_argument("--state", type=Path, default=STATE / "retrain")
    live = commands.add_parser("deploy", help="three versions deployed under load: first, better, bad")
    live.add_argument("--speed", type=float, default=60.0)
    live.add_argument("--state", type=Path, default=STATE / "deploy")
    stay = commands.add_parser("serve", help="keep the stack up until Ctrl-C")
    stay.add_argument("--port", type=int, default=0)
    stay.add_argument("--speed", type=float, default=1.0)
    options = parser.parse_args()
    if options.command == "run":
        return run.main(options.state, speed=options.speed, resume=options.resume)
    if options.command == "retrain":
        return retrain.main(options.state, speed=options.speed)
    if options.command == "deploy":
        return deploy.main(options.state, speed=options.speed)
    return serve.main(STATE, port=options.port, speed=options.speed)


if __name__ == "__main__":
    sys.exit(main())
