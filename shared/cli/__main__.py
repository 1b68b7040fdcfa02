"""`python -m shared.cli`: runs, deployments, and what people decide. Talks to the app's HTTP API; validate needs none.

The app's address and key come from --url and --key, from MUSTER_URL and MUSTER_KEY, or from `.muster/serve.json`, which
`make serve` writes. When no app is running, `runs` and `explain` read a local task hub's file: --hub FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.cli import api, deploy_texts, texts
from shared.cli.offline import HubFile
from shared.domain import names
from shared.domain.errors import AppError, Fault, SpecErrors
from shared.domain.fields import is_workload_name
from shared.domain.ml_events import is_event_key
from shared.domain.report import is_deployment


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused or failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except AppError as error:
        problem = error.problem if isinstance(error, api.Refused) else {"title": str(error)}
        print(json.dumps(problem, indent=2) if options.json else f"muster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `muster runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muster", description="Start, watch and stop Muster's runs.", parents=[_common(None, False)]
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    # Also after the command, where they are typed first. Unset there, they do not undo what stood before it.
    common = _common(argparse.SUPPRESS, argparse.SUPPRESS)

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help, parents=[common])
        added.set_defaults(command=command)
        return added

    run = add("run", _run, "start a run of a workload now")
    run.add_argument("workload")
    run.add_argument(
        "--slot", help="a slot's time, for example 2026-03-01T02:00:00Z: the run the timer would start"
    )
    run.add_argument("--reason", default="")
    run.add_argument("--idempotency-key", help="the same key starts one run, however often it is sent")
    runs = add("runs", _runs, "the newest runs")
    explain = add(
        "explain", _explain, "a run: what it does, waits for, holds, has spent; or what was decided, and why"
    )
    explain.add_argument("id", help="a run, an event's key, or a Retraining workload")
    for command in (runs, explain):
        command.add_argument(
            "--hub", type=Path, metavar="FILE", help="read this task hub's file instead of asking the app"
        )
    cancel = add("cancel", _cancel, "stop a run and release its machines")
    cancel.add_argument("id")
    cancel.add_argument("--reason", default="cancelled from the command line")
    _add_deployment_commands(add)
    add("leases", _leases, "the machines that are held at this moment")
    validate = add("validate", _validate, "check a declaration; shows its next slots")
    validate.add_argument("file", type=Path, nargs="+")
    return parser


type _Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]


def _add_deployment_commands(add: _Add) -> None:
    deploy = add("deploy", _deploy, "ask for the deployment of a model version, by a declared workload")
    deploy.add_argument("workload")
    deploy.add_argument("--version", help="a registered version; by default the one that the workload names")
    deploy.add_argument("--reason", default="")
    deploy.add_argument("--idempotency-key", help="the same key is one deployment, however often it is sent")
    add("deployments", _deployments, "the newest deployments")
    for word, help_ in (
        ("approve", "let a deployment have traffic, or a paused one go on"),
        ("reject", "refuse a deployment, or have a paused one rolled back"),
    ):
        decide = add(word, _decide, help_)
        decide.add_argument("id")
        decide.add_argument(
            "--digest", help="of what you have looked at; by default what is asked now, which is shown"
        )
        decide.add_argument("--note", default="")
        decide.set_defaults(word=word)
    rollback = add("rollback", _rollback, "take a deployment back: under way, after its commit, or frozen")
    rollback.add_argument("id")
    rollback.add_argument("--reason", default="rolled back from the command line")


def _common(text: Any, flag: Any) -> argparse.ArgumentParser:
    """The options of every command, with what they are when they are not given."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--url", default=text, help="the app, for example https://my-app.azurewebsites.net")
    common.add_argument("--key", default=text, help="a function key of the app")
    common.add_argument(
        "--json", action="store_true", default=flag, help="the API's own JSON instead of text"
    )
    return common


def _run(options: argparse.Namespace) -> int:
    body = {"workload": options.workload, "slot": options.slot, "reason": options.reason}
    headers = {"Idempotency-Key": options.idempotency_key} if options.idempotency_key else {}
    answer = api.connect(options).post("runs", body={k: v for k, v in body.items() if v}, headers=headers)
    return _show(options, answer, texts.started)


def _runs(options: argparse.Namespace) -> int:
    found = HubFile(options.hub).runs() if options.hub else api.connect(options).get("runs")
    return _show(options, found, texts.runs)


def _explain(options: argparse.Namespace) -> int:
    """A run's id, an event's key and a workload's name cannot be taken for one another."""
    if options.hub:
        return _show(options, HubFile(options.hub).run(options.id), texts.explain)
    app = api.connect(options)
    if is_event_key(options.id):
        return _show(options, app.get("decisions", options.id), texts.decisions)
    if is_workload_name(options.id) and not names.is_run_id(options.id):
        return _show(options, app.get("decisions", query={"workload": options.id}), texts.decisions)
    if is_deployment(options.id):
        return _show(options, app.get("deployments", options.id), deploy_texts.explain)
    return _show(options, app.get("runs", options.id), texts.explain)


def _deploy(options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"workload": options.workload}
    body |= {"model": {"version": options.version}} if options.version else {}
    body |= {"reason": options.reason} if options.reason else {}
    headers = {"Idempotency-Key": options.idempotency_key} if options.idempotency_key else {}
    return _show(
        options, api.connect(options).post("deployments", body=body, headers=headers), deploy_texts.asked
    )


def _deployments(options: argparse.Namespace) -> int:
    return _show(options, api.connect(options).get("deployments"), texts.deployments)


def _decide(options: argparse.Namespace) -> int:
    """Without a digest: that of what is asked now, after it was shown. Nobody decides about what he has not seen."""
    app, digest = api.connect(options), options.digest
    if not digest:
        report = app.get("deployments", options.id)
        if not report["approval"]:
            raise AppError(f"{options.id} has asked nobody yet")
        print(deploy_texts.question(report), file=sys.stderr)
        digest = report["approval"]["digest"]
    answer = app.post("deployments", options.id, options.word, body={"digest": digest, "note": options.note})
    return _show(options, answer, deploy_texts.decided)


def _rollback(options: argparse.Namespace) -> int:
    answer = api.connect(options).post(
        "deployments", options.id, "rollback", body={}, query={"reason": options.reason}
    )
    return _show(options, answer, deploy_texts.rolled_back)


def _cancel(options: argparse.Namespace) -> int:
    answer = api.connect(options).post(
        "runs", options.id, "cancel", body={}, query={"reason": options.reason}
    )
    return _show(options, answer, texts.cancelled)


def _leases(options: argparse.Namespace) -> int:
    return _show(options, api.connect(options).get("leases"), texts.leases)


def _validate(options: argparse.Namespace) -> int:
    from shared.triggers.workloads import read_workload

    checks: list[texts.Check] = []
    for path in options.file:
        try:
            checks.append(texts.Check(path, read_workload(path)))
        except SpecErrors as error:
            checks.append(texts.Check(path, faults=error.faults, text=str(error)))
        except OSError as error:
            fault = Fault(path="", message=str(error.strerror))
            checks.append(texts.Check(path, faults=(fault,), text=f"{path}: {fault}"))
    if options.json:
        print(json.dumps([check.to_json() for check in checks], indent=2))
    else:
        for check in checks:
            print(check.to_text(), file=sys.stdout if check.workload else sys.stderr)
    return 0 if all(check.workload for check in checks) else 1


def _show(options: argparse.Namespace, answer: dict[str, Any], text: Callable[[dict[str, Any]], str]) -> int:
    print(json.dumps(answer, indent=2) if options.json else text(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
