"""What Azure refuses is refused here, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from localdev.runner import AppError, Runner

_HEAD = "import azure.functions as func, azure.durable_functions as df\napp = df.DFApp()\n"
_BAD_APPS = {
    "no app": ("import azure.functions as func\n", r"defines no function app"),
    "two apps": (_HEAD + "other = df.DFApp()\n", r"defines 2 function apps"),
    "import error": (
        "import no_such_module\n",
        r"ModuleNotFoundError: No module named 'no_such_module' \(at .*:1\)",
    ),
    "syntax error": ("def f(:\n", r"SyntaxError: .*function_app\.py"),
    "raises": (
        _HEAD + "raise RuntimeError('not today')\n",
        r"RuntimeError: not today \(at .*function_app\.py:3\)",
    ),
    "duplicate names": (
        _HEAD + "".join("@app.activity_trigger(input_name='x')\ndef twice(x: str): ...\n" for _ in range(2)),
        r"Function twice does not have a unique",
    ),
    "invalid annotation": (
        _HEAD + "@app.activity_trigger(input_name='x')\ndef act(x: list[str]): ...\n",
        r"cannot load the act function: .*invalid non-type annotation",
    ),
    "unbound parameter": (
        _HEAD + "@app.activity_trigger(input_name='x')\ndef act(x: str, y: str, z: str): ...\n",
        r"act",
    ),
    "route conflict": (
        _HEAD
        + "@app.route(route='a/{x}', methods=['GET', 'POST'])\ndef one(req: func.HttpRequest) -> str: ...\n"
        + "@app.route(route='A/{x}/', methods=['POST'])\ndef two(req: func.HttpRequest) -> str: ...\n",
        r"function 'two': the route specified conflicts with the route defined by function 'one'",
    ),
    "reserved route": (
        _HEAD + "@app.route(route='runtime/x')\ndef one(req: func.HttpRequest) -> str: ...\n",
        r"conflicts with one or more built in routes",
    ),
    "bad route": (
        _HEAD + "@app.route(route='x/{id:prime}')\ndef one(req: func.HttpRequest) -> str: ...\n",
        r"unknown constraint 'prime'",
    ),
    "missing setting": (
        _HEAD
        + "@app.timer_trigger(arg_name='t', schedule='%NOT_SET%')\ndef tick(t: func.TimerRequest): ...\n",
        r"function 'tick': .*'%NOT_SET%' does not resolve",
    ),
}


@pytest.mark.parametrize("name", _BAD_APPS)
def test_a_bad_app_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    source, reason = _BAD_APPS[name]
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(source)
    with pytest.raises(AppError, match=reason):
        Runner(tmp_path).start()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (None, "host.json not found"),
        ("{", "not valid JSON"),
        ("{}", '"version" must be "2.0"'),
        ("[]", "JSON object"),
        ('{"version": "2.0", "functionTimeout": "soon"}', "functionTimeout"),
        (
            '{"version": "2.0", "extensions": {"durableTask": {"hubName": "%NOT_SET%"}}}',
            "hubName: '%NOT_SET%'",
        ),
    ],
)
def test_a_bad_host_json_is_refused(document: str | None, reason: str, tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text(_HEAD)
    if document is not None:
        (tmp_path / "host.json").write_text(document)
    with pytest.raises(AppError, match=reason):
        Runner(tmp_path).start()


def test_encrypted_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(_HEAD)
    (tmp_path / "local.settings.json").write_text('{"IsEncrypted": true, "Values": {}}')
    with pytest.raises(AppError, match="encrypted"):
        Runner(tmp_path).start()
