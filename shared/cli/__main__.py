"""`python -m shared.cli`: run, runs, explain, cancel, leases, validate. Talks to the app's HTTP API; validate needs none.

The app's address and key come from --url and --key, from MUSTER_URL and MUSTER_KEY, or from `.muster/serve.json`, which
`make serve` writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.cli import api, texts
from shared.domain.errors import AppError, SpecErrors


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused or failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except AppError as error:
        print(f"muster: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster", description="Start, watch and stop Muster's runs.")
    parser.add_argument("--url", help="the app, for example https://my-app.azurewebsites.net")
    parser.add_argument("--key", help="a function key of the app")
    parser.add_argument("--json", action="store_true", help="the API's own JSON instead of text")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="start a run of a workload now")
    run.add_argument("workload")
    run.add_argument(
        "--slot", help="a slot's time, for example 2026-03-01T02:00:00Z: the run the timer would start"
    )
    run.add_argument("--reason", default="")
    run.add_argument("--idempotency-key", help="the same key starts one run, however often it is sent")
    run.set_defaults(command=_run)

    runs = commands.add_parser("runs", help="the newest runs")
    runs.set_defaults(command=_runs)

    explain = commands.add_parser("explain", help="what a run is doing, waits for, holds and has spent")
    explain.add_argument("id")
    explain.set_defaults(command=_explain)

    cancel = commands.add_parser("cancel", help="stop a run and release its machines")
    cancel.add_argument("id")
    cancel.add_argument("--reason", default="cancelled from the command line")
    cancel.set_defaults(command=_cancel)

    leases = commands.add_parser("leases", help="the machines that are held at this moment")
    leases.set_defaults(command=_leases)

    validate = commands.add_parser("validate", help="check a declaration; shows its next slots")
    validate.add_argument("file", type=Path, nargs="+")
    validate.set_defaults(command=_validate)
    return parser


def _run(options: argparse.Namespace) -> int:
    body = {"workload": options.workload, "slot": options.slot, "reason": options.reason}
    headers = {"Idempotency-Key": options.idempotency_key} if options.idempotency_key else {}
    answer = api.connect(options).post("runs", {k: v for k, v in body.items() if v}, headers)
    return _show(options, answer, lambda a: f"{a['id']} {'started' if a['fresh'] else 'was started before'}")


def _runs(options: argparse.Namespace) -> int:
    return _show(options, api.connect(options).get("runs"), texts.runs)


def _explain(options: argparse.Namespace) -> int:
    return _show(options, api.connect(options).get(f"runs/{options.id}"), texts.explain)


def _cancel(options: argparse.Namespace) -> int:
    answer = api.connect(options).post(f"runs/{options.id}/cancel", {}, {}, query={"reason": options.reason})
    return _show(
        options, answer, lambda a: f"{a['id']}: cancellation is on record; its machines are being released"
    )


def _leases(options: argparse.Namespace) -> int:
    return _show(options, api.connect(options).get("leases"), texts.leases)


def _validate(options: argparse.Namespace) -> int:
    from shared.triggers.workloads import read_workload

    bad = 0
    for path in options.file:
        try:
            print(texts.valid(path, read_workload(path)))
        except SpecErrors as error:
            bad += 1
            print(error, file=sys.stderr)
        except OSError as error:
            bad += 1
            print(f"{path}: {error.strerror}", file=sys.stderr)
    return 1 if bad else 0


def _show(options: argparse.Namespace, answer: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> int:
    print(json.dumps(answer, indent=2) if options.json else text(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
