"""The edge of deployments, over real HTTP: what is refused and how, who gets a busy endpoint, whose word counts."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.azure import arm, endpoint_records, ledger, ml_client
from shared.config import settings
from shared.domain.names import deploy_run_id
from shared.triggers.http import ROUTES
from tests.support.deployments import deployment, post, put_version
from tests.support.estate import Estate

DIGEST = "0" * 64
TARGET = {"platform": "aks", "endpoint": "inline", "compute": "aks-prod"}


pytestmark = pytest.mark.usefixtures("stopped")


def ask(world: Estate, body: Any, who: str = "default", *, key: str = "") -> tuple[int, Any]:
    return post(world, "deployments", who, body, key=key)


def faults(answer: Any) -> dict[str, str]:
    assert answer["type"].startswith("urn:muster:") and answer["status"] == 400
    return {each["path"]: each["message"] for each in answer["errors"]}


@pytest.fixture(scope="module")
def run(world: Estate) -> str:
    """A deployment at work that the chief asked for, who may approve too."""
    status, answer = ask(world, {"workload": "asked", "reason": "a test"}, "chief")
    assert status == 202, answer
    return str(answer["id"])


class TestKeys:
    @pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
    def test_no_route_answers_without_a_key(self, world: Estate, route: tuple[str, str, str]) -> None:
        method, path, _ = route
        path = path.replace("{id}", deploy_run_id("asked", "manual-" + "0" * 16)).replace("{key}", "0" * 32)
        for key in ("", "wrong"):
            headers = {"x-functions-key": key, "X-MS-CLIENT-PRINCIPAL-ID": "forged"}
            assert world.world.api(path, method=method, headers=headers)[0] == 401

    @pytest.mark.parametrize("who", ["reader", "nobody", "approver"])
    def test_who_may_not_deploy_deploys_nothing(self, world: Estate, who: str) -> None:
        status, answer = ask(world, {"workload": "asked"}, who)
        assert status == 403
        assert "it takes the app role Model.Deploy" in answer["detail"]

    def test_what_a_client_says_of_itself_is_not_believed(self, world: Estate) -> None:
        forged = {
            "x-functions-key": world.world.keys["nobody"], "X-MS-CLIENT-PRINCIPAL-ID": "somebody",
            "X-MS-CLIENT-PRINCIPAL-NAME": "chief@localdev",
            "X-MS-CLIENT-PRINCIPAL": "eyJjbGFpbXMiOlt7InR5cCI6InJvbGVzIiwidmFsIjoiTW9kZWwuRGVwbG95In1dfQ==",
        }  # fmt: skip
        status, answer = world.world.api(
            "deployments", method="POST", body={"workload": "asked"}, headers=forged
        )
        assert (status, "function key may not deploy" in answer["detail"]) == (403, True)


BAD_BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "no JSON": (b"workload: asked", {"": "is not JSON"}),
    "a list": (b"[]", {"": "is not a JSON object"}),
    "NaN": (b'{"workload": "asked", "reason": NaN}', {"": "NaN is no number"}),
    "twice": (b'{"workload": "asked", "workload": "raced"}', {"workload": "is given twice"}),
    "nested": (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", {"": "is nested too deeply"}),
    "a bomb": (b'{"a": ' + b"[" * 30_000, {"": "is nested too deeply"}),
    "no bytes of text": (b"\xff\xfe\x00", {"": "is not JSON"}),
    "empty": (b"", {"": "is not JSON"}),
    "nothing": (b"{}", {"model": "is required", "target": "is required"}),
    "wrong types": (
        b'{"workload": "asked", "model": {"version": 19, "name": []}, "reason": {}, "more": 1}',
        {"model.version": "string", "model.name": "string", "reason": "string", "more": "not permitted"},
    ),
    "no workload": (b'{"workload": "heard-of"}', {"workload": "no workload 'heard-of' is deployed"}),
    "another kind": (b'{"workload": "scored"}', {"workload": "scored is a BatchScoring"}),
    "another model": (
        b'{"workload": "asked", "model": {"name": "other"}}', {"model.name": "serves asked-model, not other"},
    ),
    "no version": (
        b'{"workload": "asked", "model": {"version": "99"}}', {"model.version": "has no version '99'"},
    ),
    "a path": (b'{"workload": "asked", "model": {"version": "../1"}}', {"model.version": "pattern"}),
    "many at once": (
        json.dumps(
            {
                "kind": "Deployment", "model": {"name": "asked-model", "verzion": "1"},
                "target": {"platform": "ecs", "endpoint": "Live!"}, "rollout": {"steps": [50, 25], "bake": "ten"},
                "resources": {"gpu": -1}, "tests": {"load": {"requests": "many"}}, "approval": {"timeout": 4},
            }
        ).encode(),
        {
            "kind": "not for a request", "model.verzion": "not a known key", "target.platform": "serving platform",
            "target.endpoint": "", "rollout.steps": "", "rollout.bake": "", "resources.gpu": "",
            "tests.load.requests": "whole number", "approval.timeout": "",
        },
    ),
    "waived": (
        json.dumps(
            {
                "model": {"name": "asked-model"}, "target": TARGET, "requireLineage": False,
                "approval": {"required": False, "fourEyes": False},
            }
        ).encode(),
        dict.fromkeys(("requireLineage", "approval.required", "approval.fourEyes"), "cannot be waived"),
    ),
    "no such model": (
        json.dumps({"model": {"name": "unheard-of"}, "target": TARGET}).encode(), {"model.name": "there is no model"},
    ),
}  # fmt: skip


class TestBodies:
    @pytest.mark.parametrize("case", BAD_BODIES)
    def test_every_fault_is_told_at_once(self, world: Estate, case: str) -> None:
        body, wanted = BAD_BODIES[case]
        status, answer = ask(world, body)
        assert status == 400, answer
        found = faults(answer)
        assert found.keys() == wanted.keys()
        assert [path for path, part in wanted.items() if part not in found[path]] == []

    def test_ten_megabytes_are_refused_unread(self, world: Estate) -> None:
        status, answer = ask(world, b'{"workload": "' + b"x" * 10_000_000 + b'"}')
        assert (status, answer["status"]) == (413, 413)
        assert "at most 65536 are read" in answer["detail"]

    def test_a_version_that_was_put_out_of_use_is_not_deployed(self, world: Estate) -> None:
        put_version(world, "asked-model", "7")
        path = f"{settings().ml_workspace_id}/models/asked-model/versions/7"
        body = arm.request("GET", path, api_version=ml_client.ML_API, target="read").body["properties"]
        kept = {"modelUri": body["modelUri"], "modelType": body["modelType"], "tags": body["tags"]}
        arm.request(
            "PUT", path, api_version=ml_client.ML_API, target="archive",
            body={"properties": {**kept, "isArchived": True}},
        )  # fmt: skip
        status, answer = ask(world, {"workload": "asked", "model": {"version": "7"}})
        assert status == 400
        assert "archived in Azure ML" in faults(answer)["model.version"]

    def test_nobody_goes_round_a_declared_policy(self, world: Estate) -> None:
        inline = {"model": {"name": "asked-model"}, "target": {**TARGET, "endpoint": "asked"}}
        status, answer = ask(world, inline)
        assert (status, "workload asked says how asked is deployed to" in answer["detail"]) == (409, True)
        status, answer = ask(world, {**inline, "target": {**TARGET, "endpoint": "scored"}})
        assert (status, "the name of a declared workload" in answer["detail"]) == (409, True)

    def test_a_whole_policy_is_taken_for_an_endpoint_that_nobody_owns(self, world: Estate) -> None:
        whole = deployment(
            "inline", model={"name": "asked-model", "version": "1"}, approval={"required": True}
        )
        body = {key: value for key, value in whole.items() if key not in ("kind", "name")}
        status, answer = ask(world, {**body, "reason": "S3's body"}, key="inline")
        assert status == 202, answer
        assert answer["id"].startswith("deploy-inline-key-")

    def test_a_deployment_is_no_run_of_the_other_kind(self, world: Estate) -> None:
        status, answer = post(world, "runs", "default", {"workload": "asked"})
        assert status == 400
        assert "POST /api/deployments" in faults(answer)["workload"]


def claimed(endpoint: str) -> list[str]:
    paths = ledger.list_paths(f"claims/deploy-{endpoint}-")
    return [path.rsplit("/", 1)[-1].removesuffix(".json") for path in paths]


class TestBusy:
    def test_of_many_that_ask_at_once_one_gets_the_endpoint_and_the_others_are_told(
        self, world: Estate
    ) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ask(world, {"workload": "raced"}), range(8)))
        taken = [answer for status, answer in answers if status == 202]
        assert sorted(status for status, _ in answers) == [202] + [409] * 7
        (winner,) = (answer["id"] for answer in taken)
        assert all(winner in answer["detail"] for status, answer in answers if status == 409)
        assert claimed("raced") == [winner]
        assert endpoint_records.read("raced").holder == winner
        assert ledger.list_paths("claims/unstarted/deploy-raced-") == []

    def test_a_key_gives_the_same_answer_and_no_other_request(self, world: Estate) -> None:
        body = {"workload": "keyed", "model": {"version": "1"}}
        first = ask(world, body, key="k1")
        spaced = json.dumps(body, indent=4).encode()
        assert [ask(world, each, key="k1") for each in (body, spaced)] == [first] * 2
        assert first[0] == 202 and first[1]["id"].startswith("deploy-keyed-key-")
        for other in ({**body, "reason": "another"}, {"workload": "asked"}):
            status, answer = ask(world, other, key="k1")
            assert (status, answer["title"]) == (422, "The idempotency key belongs to another request")
        status, answer = ask(world, body, key="k2")
        assert (status, first[1]["id"] in answer["detail"]) == (409, True)
        assert claimed("keyed") == [first[1]["id"]]

    def test_a_key_that_is_refused_may_be_used_again(self, world: Estate, run: str) -> None:
        """Also with another body, if the first was at fault."""
        assert ask(world, {"workload": "asked", "model": {"version": "99"}}, key="later")[0] == 400
        assert [ask(world, {"workload": "asked"}, key="later")[0] for _ in range(2)] == [409, 409]
        assert claimed("asked") == [run]

    def test_an_endless_key_is_refused(self, world: Estate) -> None:
        assert "Idempotency-Key" in faults(ask(world, {"workload": "keyed"}, key="k" * 201)[1])


class TestLooking:
    def test_the_answer_says_where_to_look_and_when(self, world: Estate, run: str) -> None:
        request = urllib.request.Request(
            f"{world.world.url}/api/deployments", method="POST", data=b'{"workload": "typed"}',
            headers={"x-functions-key": world.world.key, "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
            assert (response.status, response.headers["Retry-After"]) == (202, "15")
            assert response.headers["Location"] == answer["status"]
        one = f"{world.world.url}/api/deployments/{answer['id']}"
        assert answer["status"] == one
        assert {what: answer[what] for what in ("approve", "reject", "cancel", "rollback")} == {
            what: f"{one}/{what}" for what in ("approve", "reject", "cancel", "rollback")
        }
        assert "code=" not in json.dumps(answer)

    def test_a_deployment_is_listed_and_shown(self, world: Estate, run: str) -> None:
        _, answer = world.world.api("deployments")
        (row,) = (each for each in answer["deployments"] if each["id"] == run)
        assert (row["endpoint"], row["model"]) == ("asked", "asked-model:champion")
        assert run in [each["id"] for each in world.world.api("runs")[1]["runs"]]
        status, shown = world.world.api(f"deployments/{run}")
        assert status == 200
        assert (shown["endpoint"], shown["platform"], shown["workload"]) == ("asked", "aks", "asked")
        assert (shown["model"], shown["requested_by"]) == ("asked-model:champion", "http:chief@localdev")
        assert (shown["over"], shown["held"]["holder"], shown["reason"]) == (False, run, "a test")
        assert shown["urls"]["approve"].endswith(f"/api/deployments/{run}/approve")

    @pytest.mark.parametrize(
        "id_", ["x", "..", "deploy-asked-manual-" + "0" * 16, "score-scored-manual-" + "0" * 16]
    )
    def test_what_is_no_deployment_is_not_found(self, world: Estate, id_: str) -> None:
        assert world.world.api(f"deployments/{id_}")[0] == 404
        for what in ("approve", "cancel", "rollback"):
            assert post(world, f"deployments/{id_}/{what}", "chief", {"digest": DIGEST})[0] == 404
