"""What the command line prints about deployments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_REJECTED_ROWS = ("Fail", "Inconclusive")


def asked(answer: dict[str, Any]) -> str:
    return f"{answer['id']} is asked for; see how it does: muster explain {answer['id']}"


def decided(answer: dict[str, Any]) -> str:
    return f"{answer['id']}: {answer['decision']} is on record for {answer['digest'][:12]}"


def rolled_back(answer: dict[str, Any]) -> str:
    if answer.get("of"):
        return f"{answer['id']} takes {answer['of']} back: muster explain {answer['id']}"
    return f"{answer['id']}: it is on record that it shall be taken back: muster explain {answer['id']}"


def rows(answer: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            each["id"],
            each["state"],
            each["endpoint"] or "-",
            each["model"] or "-",
            each["waiting_for"] or each["phase"],
        )
        for each in answer["deployments"]
    ]


def explain(run: dict[str, Any]) -> str:
    """Weights, what every step showed, what is asked of a person, and what to type next."""
    lines = [f"{run['id']}: {run['state']}, {run['phase']}, {run['percent']:.0f} %"]
    by = f", asked by {run['requested_by']}" if run["requested_by"] else ""
    lines.append(f"  model        {run['model'] or '?'} to {run['endpoint']} ({run['platform']}){by}")
    if run["waiting_for"]:
        next_look = f", next look {run['next_look']}" if run["next_look"] else ""
        lines.append(f"  waiting for  {run['waiting_for']}, since {run['since']}{next_look}")
    if run["weights"]:
        lines.append(f"  traffic      {_map(run['weights'])}")
    lines += _conversion(run["conversion"])
    lines += _profile(run["profile"])
    lines += [line for test in run["tests"] for line in _test(test)]
    lines += [line for step in run["steps"] for line in _step(step)]
    lines += _approval(run)
    lines.append(f"  spent        ${run['spent_usd']:.4f} as of {run['as_of']}")
    if run["outcome"]:
        lines += [*outcome(run["outcome"]), f"  teardown     {run['outcome']['teardown']}"]
    elif run["error"]:
        lines.append(f"  error        {run['error']}")
    lines += _next(run)
    return "\n".join(lines)


def outcome(ended: dict[str, Any]) -> list[str]:
    """How a deployment ended, and what to do about it."""
    lines = [f"  ended        {ended['state']} {ended['reason']}".rstrip()]
    for name in ("remedy", "live", "previous", "approved_by"):
        if ended[name]:
            lines.append(f"  {name.replace('_', ' '):12} {ended[name]}")
    return [*lines, *(f"  type         {command}" for command in ended["commands"])]


def question(report: dict[str, Any]) -> str:
    """What a person is about to decide."""
    approval = report["approval"]
    return "\n".join([f"{report['id']} asks:", *_asked(approval["asked"])])


def _conversion(report: dict[str, Any]) -> list[str]:
    """Whether the converted model is served, and by which numbers."""
    if not report:
        return []
    again = ", by the record of an earlier deployment" if report["reused"] else ""
    what = "takes the original's place" if report["converted"] else "is not converted"
    lines = [f"  conversion   {report['served']} {what}{again}, ${report['usd']:.4f}"]
    if report["reason"]:
        lines.append(f"    {report['reason']}")
    for row in (report["verdict"] or {"rows": []})["rows"]:
        lines.append(
            f"    {'Pass' if row['ok'] else 'Fail':12} {row['rule']} {row['value']} ({row['limit']})"
        )
    found = report["found"]
    if found and found["original"] and found["converted"] and found["file"]:
        before, after = found["original"], found["converted"]
        lines.append(
            f"    one row {before['single_ms']:.2f} ms to {after['single_ms']:.2f} ms, {found['batch_rows']} rows "
            f"{before['batch_ms']:.1f} ms to {after['batch_ms']:.1f} ms, {found['size_before']} bytes to "
            f"{found['file']['size']}"
        )
    return lines


def _profile(record: dict[str, Any]) -> list[str]:
    """A line for each size that was tried, and what is recommended."""
    told = [line.removeprefix("profile").lstrip(": ") for line in record.get("lines", ())]
    use = {"recommended": "green is made with it", "report": "only told"}
    return [*(f"  profile      {line}" for line in told), *([f"    {use[record['use']]}"] if told else [])]


def _test(test: dict[str, Any]) -> Iterator[str]:
    verdict = (
        f"skipped: {test['skipped']}"
        if test["skipped"]
        else "passed"
        if test["ok"]
        else f"failed: {test['reason']}"
    )
    yield f"  {test['kind'] + ' test':12} {verdict} ({test['requests']} requests)"
    for row in test["rows"]:
        if not row["ok"]:
            yield f"    {row['what']}: {row['value']}, {row['rule']} {row['why']}".rstrip()


def _step(step: dict[str, Any]) -> Iterator[str]:
    verdict = step["verdict"] or {"reason": "", "rows": []}
    by = f" by {step['by']}" if step["by"] else ""
    yield f"  step {step['weight']:3} %   {step['outcome']}{by}, {step['looks']} looks: {_map(step['weights'])}"
    for row in verdict["rows"]:
        why = f"  {row['why']}" if row["ruling"] in _REJECTED_ROWS else ""
        limit = f" ({row['limit']})" if row["limit"] else ""
        yield f"    {row['ruling']:12} {row['rule']} {row['value']}{limit}{why}"


def _approval(run: dict[str, Any]) -> list[str]:
    approval = run["approval"]
    if not approval:
        return []
    if word := approval["decision"]:
        note = f": {word['note']}" if word["note"] else ""
        return [f"  decision     {word['decision']} by {word['name'] or word['by']} at {word['at']}{note}"]
    if run["over"]:
        return []
    return [*_asked(approval["asked"]), f"  digest       {approval['digest']}"]


def _asked(asked: dict[str, Any]) -> list[str]:
    what = f"pause {asked['number']}, after step {asked['step']}" if asked["number"] else "before traffic"
    lines = [
        f"  asks         {what}: {asked['reason']}",
        f"    {asked['model']} (sha256 {asked['model_sha256'][:12]}) as {asked['deployment']} at {asked['endpoint']}, "
        f"in place of {asked['blue'] or 'nothing'}, in steps {', '.join(map(str, asked['steps']))} %",
    ]
    return [*lines, *(f"    {row}" for row in asked["rows"]), f"    until {asked['expires']}"]


def _next(run: dict[str, Any]) -> list[str]:
    """What a person may type now."""
    id_, held = run["id"], run["held"]
    if run["over"]:
        is_live = bool(held.get("live")) and held["live"]["run"] == id_ and held["previous"]
        if is_live or held.get("frozen"):
            until = f", until {held['hold_until']}" if held.get("hold_until") else ""
            return [f"  muster rollback {id_} goes back to what served before{until}"]
        return []
    waits = run["approval"] and not run["approval"]["decision"]
    decide = [f"  muster approve {id_}, or muster reject {id_}"] if waits else []
    return [*decide, f"  muster cancel {id_} gives the traffic back and deletes what is being deployed"]


def _map(weights: dict[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in weights.items()) or "none"
