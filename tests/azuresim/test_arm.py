"""The front door of ARM: routes, versions, conditions, long operations, throttling, and the log of it all."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from tests.azuresim.azure_client import (
    COMPUTE,
    GROUP,
    NETWORK,
    SUBSCRIPTION,
    Azure,
    code,
    nic_id,
    subnet,
    vm_body,
    vm_id,
)
from tests.azuresim.conftest import START

_PROVIDERS = f"{GROUP}/providers"


@pytest.mark.parametrize(
    ("path", "refusal", "text"),
    [
        ("?", (400, "MissingApiVersionParameter"), "api-version"),
        ("?api-version=soon", (400, "InvalidApiVersionParameter"), "'soon'"),
        ("?api-version=2015-01-01", (400, "NoRegisteredProviderFound"), "2015-01-01"),
    ],
)
def test_a_wrong_version_is_refused_by_name(
    azure: Azure, path: str, refusal: tuple[int, str], text: str
) -> None:
    url = f"https://management.azure.com{vm_id('a')}{path}"
    answer = azure.plain(
        "GET", url, headers={"Authorization": f"Bearer {azure.identity().json()['access_token']}"}
    )
    assert code(answer) == refusal
    assert text in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "refusal", "text"),
    [
        (f"{_PROVIDERS}/Microsoft.Compute/toasters/x", (404, "InvalidResourceType"), "toasters"),
        (f"{_PROVIDERS}/Contoso.Bread/toasters/x", (404, "InvalidResourceNamespace"), "Contoso.Bread"),
        (
            f"{_PROVIDERS}/Microsoft.Compute/virtualMachines/none",
            (404, "ResourceNotFound"),
            "virtualMachines/none",
        ),
        (
            vm_id("a").replace("muster-burn", "nowhere"),
            (404, "ResourceGroupNotFound"),
            "nowhere",
        ),
        (vm_id("a").replace(SUBSCRIPTION, SUBSCRIPTION[:-1] + "2"), (404, "SubscriptionNotFound"), "1112"),
    ],
)
def test_what_is_not_there_is_named(azure: Azure, path: str, refusal: tuple[int, str], text: str) -> None:
    answer = azure.send("GET", path)
    assert code(answer) == refusal
    assert text in answer.json()["error"]["message"]


def test_a_verb_that_does_not_exist_is_refused(azure: Azure) -> None:
    assert code(azure.send("PATCH", f"{vm_id('a')}/deallocate")) == (405, "MethodNotAllowed")


def test_ids_compare_without_case_and_keep_the_case_they_were_made_with(azure: Azure) -> None:
    azure.create_vm("Mixed")
    found = azure.get(vm_id("mIXED").replace("resourceGroups", "RESOURCEGROUPS"))
    assert found["id"] == vm_id("Mixed")


def test_a_long_operation_can_be_followed_and_read_after_its_end(azure: Azure) -> None:
    put = azure.send("PUT", vm_id("a"), vm_body(azure.env))
    url = put.headers["Azure-AsyncOperation"]
    first = azure.send("GET", url)
    assert first.json()["status"] == "InProgress"
    assert "Retry-After" in first.headers
    azure.control.advance(60)
    last = azure.send("GET", url)
    assert last.json()["status"] == "Succeeded"
    assert last.json()["startTime"] < last.json()["endTime"]
    assert "Retry-After" not in last.headers
    azure.control.advance(86400)
    assert azure.get(url)["status"] == "Succeeded"
    assert code(azure.send("GET", url.replace("/operations/", "/operations/0"))) == (404, "NotFound")


def test_a_post_can_be_followed_by_its_location(azure: Azure) -> None:
    azure.create_vm()
    post = azure.post("a", "deallocate")
    assert (post.status_code, post.content) == (202, b"")
    assert azure.send("GET", post.headers["Location"]).status_code == 202
    azure.control.advance(30)
    assert azure.send("GET", post.headers["Location"]).status_code == 200


def test_retry_after_is_told_for_both_clocks(azure: Azure) -> None:
    azure.control.set_speed(5)
    put = azure.send("PUT", vm_id("a"), vm_body(azure.env))
    assert (put.headers["Retry-After"], put.headers["retry-after-ms"]) == ("2", "10000")


def test_a_look_before_retry_after_is_on_record_and_a_punctual_one_is_not(azure: Azure) -> None:
    azure.control.set_speed(0.001)  # time stands nearly still: wall time does not excuse anybody either
    azure.send("PUT", vm_id("a"), vm_body(azure.env))
    azure.control.advance(4)
    azure.get(vm_id("a"))
    (early,) = azure.control.events(type_="early_poll")
    assert early["path"] == vm_id("a")
    assert early["seconds_early"] == pytest.approx(6, abs=0.1)
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(10)
    azure.get(vm_id("a"))
    assert len(azure.control.events(type_="early_poll")) == 1


def test_the_date_is_that_of_the_simulated_clock(azure: Azure) -> None:
    azure.control.advance(3600)
    date = parsedate_to_datetime(azure.send("GET", GROUP).headers["Date"])
    assert (date - START).total_seconds() == pytest.approx(3600, abs=1)


def test_a_request_carries_its_ids_back(azure: Azure) -> None:
    sent = {
        "x-ms-client-request-id": "mine",
        "x-ms-return-client-request-id": "true",
        "x-ms-correlation-request-id": "c",
    }
    answer = azure.send("GET", GROUP, headers=sent)
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert answer.headers["x-ms-correlation-request-id"] == "c"
    (logged,) = [e for e in azure.control.events(type_="request") if e["path"] == GROUP]
    assert logged["request_id"] == answer.headers["x-ms-request-id"]
    assert logged["principal"]["name"] == "host"
    assert logged["client_request_id"] == "mine"


def test_if_match_guards_a_change(azure: Azure) -> None:
    ip = {"name": "ip", "properties": {"subnet": {"id": subnet(azure.env)}}}
    body = {"location": "westeurope", "properties": {"ipConfigurations": [ip]}}
    assert code(azure.send("PUT", nic_id("n"), body, headers={"If-Match": '"7"'})) == (
        412,
        "PreconditionFailed",
    )
    etag = azure.send("PUT", nic_id("n"), body).headers["ETag"]
    assert azure.send("PUT", nic_id("n"), body, headers={"If-Match": etag}).status_code == 200
    assert code(azure.send("PUT", nic_id("n"), body, headers={"If-Match": etag})) == (
        412,
        "PreconditionFailed",
    )


def test_reads_beyond_the_bucket_are_throttled_until_it_fills(azure: Azure) -> None:
    answers = [azure.send("GET", GROUP) for _ in range(252)]
    left = [int(a.headers.get("x-ms-ratelimit-remaining-subscription-reads", "-1")) for a in answers]
    assert left[0] == 249 and left[249] == 0
    assert code(answers[250]) == (429, "SubscriptionRequestsThrottled")
    assert int(answers[250].headers["retry-after-ms"]) >= 1000
    azure.control.advance(2)
    assert azure.send("GET", GROUP).status_code == 200


def test_one_machine_takes_only_so_many_updates(azure: Azure) -> None:
    azure.create_vm()
    answers = []
    for _ in range(20):
        answers.append(azure.send("PATCH", vm_id("a"), {"tags": {"n": "1"}}))
        azure.control.advance(4)
    assert {a.status_code for a in answers[:11]} == {200}
    refused = next(a for a in answers if a.status_code == 429)
    assert refused.json()["error"]["code"] == "OperationNotAllowed"
    assert refused.headers["x-ms-ratelimit-remaining-resource"] == "Microsoft.Compute/UpdateVM3Min;0"


def test_a_long_list_comes_in_pages(azure: Azure) -> None:
    collection = f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups"
    for number in range(105):
        body = {"location": "westeurope", "tags": {"n": str(number)}}
        assert azure.send("PUT", f"{collection}/g{number:03}", body).status_code == 201
    names, link, pages = [], f"{collection}?api-version={NETWORK}", 0
    while link:
        page = azure.get(link)
        names += [each["name"] for each in page["value"]]
        link, pages = page.get("nextLink", ""), pages + 1
    assert (pages, names) == (2, [f"g{number:03}" for number in range(105)])


def test_no_token_no_answer(azure: Azure) -> None:
    url = f"https://management.azure.com{GROUP}?api-version=2021-04-01"
    answer = azure.plain("GET", url)
    assert code(answer) == (401, "AuthenticationFailed")
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    storage = azure.identity(resource="https://storage.azure.com").json()["access_token"]
    assert code(azure.send("GET", GROUP, token=storage)) == (401, "InvalidAuthenticationTokenAudience")
    assert code(azure.send("GET", GROUP, token="a.b.c")) == (401, "InvalidAuthenticationToken")


def test_a_body_that_is_no_json_is_refused(azure: Azure) -> None:
    token = azure.identity().json()["access_token"]
    url = f"https://management.azure.com{vm_id('a')}?api-version={COMPUTE}"
    answer = azure.plain("PUT", url, data=b"{", headers={"Authorization": f"Bearer {token}"})
    assert code(answer) == (400, "InvalidRequestContent")
    assert code(azure.send("PUT", vm_id("a"), ["a list"])) == (400, "InvalidRequestContent")
