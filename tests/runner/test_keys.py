"""Access keys, when the host is given a key file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localdev.clock import Clock
from localdev.runner import AppError, Runner
from localdev.runner.keys import Keys
from tests.runner.conftest import Trace
from tests.runner.support import APPS, call, finished

EVENTS = "runtime/webhooks/EventGrid?functionName=on_event"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def guarded(clock: Clock, trace: Trace, key_file: Path) -> Iterator[Runner]:
    with Runner(APPS / "basics", clock=clock, keys=key_file) as runner:
        yield runner


def keys(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_missing_key_file_is_made_for_its_owner_only_and_kept(key_file: Path) -> None:
    first = Keys.load(key_file)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert Keys.load(key_file) == first
    secrets = [first.master, *first.function.values(), *first.system.values()]
    assert len(set(secrets)) == len(secrets) == 4
    assert all(len(secret) >= 40 for secret in secrets)


def test_an_unreadable_key_file_is_refused(key_file: Path) -> None:
    key_file.write_text("{}")
    with pytest.raises(AppError, match="key file"):
        Keys.load(key_file)


def test_functions_ask_for_a_key_of_their_level(guarded: Runner, key_file: Path) -> None:
    master, default = keys(key_file)["masterKey"], keys(key_file)["functionKeys"]["default"]
    system = keys(key_file)["systemKeys"]["durabletask_extension"]

    def status(path: str, key: str | None) -> int:
        headers = {"x-functions-key": key} if key else {}
        return call("GET", f"{guarded.url}/{path}", headers=headers).status

    tried: tuple[str | None, ...] = (None, "wrong", system, default, master)
    assert [status("api/items/1", key) for key in tried] == [200] * 5
    assert [status("api/guarded", key) for key in tried] == [401, 401, 401, 200, 200]
    assert [status("api/master-only", key) for key in tried] == [401, 401, 401, 401, 200]
    assert [status("admin/host/status", key) for key in tried] == [401, 401, 401, 401, 200]
    assert call("GET", f"{guarded.url}/api/guarded?code={default}").status == 200


def test_a_key_of_one_function_opens_only_that_function(clock: Clock, trace: Trace, key_file: Path) -> None:
    Keys.load(key_file)
    document = keys(key_file)
    document["functions"] = {"guarded": {"partner": "p" * 40}}
    key_file.write_text(json.dumps(document))
    with Runner(APPS / "basics", clock=clock, keys=key_file) as runner:
        headers = {"x-functions-key": "p" * 40}
        assert call("GET", f"{runner.url}/api/guarded", headers=headers).status == 200
        assert call("GET", f"{runner.url}/api/master-only", headers=headers).status == 401


def test_webhooks_ask_for_the_system_key_of_their_extension(guarded: Runner, key_file: Path) -> None:
    system = keys(key_file)["systemKeys"]
    event, headers = [{"id": "1", "data": {}}], {"aeg-event-type": "Notification"}
    for key, status in (
        ("", 401),
        (system["durabletask_extension"], 401),
        (system["eventgrid_extension"], 202),
    ):
        assert call("POST", f"{guarded.url}/{EVENTS}&code={key}", event, headers).status == status
    instances = f"{guarded.url}/runtime/webhooks/durabletask/instances"
    for key, status in (
        ("", 401),
        (system["eventgrid_extension"], 401),
        (system["durabletask_extension"], 200),
    ):
        assert call("GET", f"{instances}?code={key}").status == status


def test_management_urls_carry_the_key_that_opens_them(key_file: Path) -> None:
    with Runner(APPS / "chaining", keys=key_file) as runner:
        started = call("POST", f"{runner.url}/api/orchestrators/hello_chaining").json()
        assert keys(key_file)["systemKeys"]["durabletask_extension"] in started["terminatePostUri"]
        assert finished(started["statusQueryGetUri"])["runtimeStatus"] == "Completed"


FORGED = {
    "X-MS-CLIENT-PRINCIPAL": "Zm9yZ2Vk",
    "X-MS-CLIENT-PRINCIPAL-ID": "forged",
    "X-MS-CLIENT-PRINCIPAL-NAME": "forged",
    "X-MS-TOKEN-AAD-ID-TOKEN": "forged",
}


def whoami(runner: Runner, key: str) -> Any:
    headers = {"x-functions-key": key, **FORGED}
    return call("POST", f"{runner.url}/api/whoami", headers=headers, raw=b"with a body").json()


def test_where_keys_stand_for_people_what_a_client_says_of_itself_is_taken_away(
    clock: Clock, trace: Trace, key_file: Path
) -> None:
    Keys.load(key_file)
    document = keys(key_file)
    document["functionKeys"]["nobody"] = "n" * 40
    document["principals"] = {"default": {"id": "1-2", "name": "ann@contoso.com", "roles": ["Model.Approve"]}}
    key_file.write_text(json.dumps(document))
    with Runner(APPS / "basics", clock=clock, keys=key_file) as runner:
        named = whoami(runner, document["functionKeys"]["default"])
        others = [whoami(runner, key) for key in ("n" * 40, document["masterKey"])]
    assert "WEBSITE_AUTH_ENABLED" not in os.environ
    assert [other == {"auth": "True", "said": {}} for other in others] == [True, True]
    assert (named["auth"], named["said"].pop("x-ms-client-principal") != FORGED["X-MS-CLIENT-PRINCIPAL"]) == (
        "True", True,
    )  # fmt: skip
    assert named["said"] == {
        "x-ms-client-principal-id": "1-2",
        "x-ms-client-principal-name": "ann@contoso.com",
        "x-ms-client-principal-idp": "aad",
    }


def test_where_keys_are_only_keys_headers_come_as_they_were_sent(guarded: Runner, key_file: Path) -> None:
    """As on Azure without platform authentication: what they say is for the app not to believe."""
    seen = whoami(guarded, keys(key_file)["functionKeys"]["default"])
    assert seen == {"auth": None, "said": {name.lower(): value for name, value in FORGED.items()}}
