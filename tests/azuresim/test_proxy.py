"""The way out, and who is who: proxy, identity endpoint, metadata service."""

from __future__ import annotations

import json
import socket
import urllib.parse

import pytest
import requests

from tests.azuresim.azure_client import GROUP, Azure, code, vm_body, vm_id

_TOKEN = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"
_INSTANCE = "http://169.254.169.254/metadata/instance"


def fetched(azure: Azure, url: str, *, metadata: str = "true") -> tuple[int, str]:
    """What a script on machine `a` gets from `url`, with the standard library's own HTTP client."""
    script = f"""python3 - <<'END'
import urllib.error, urllib.request
request = urllib.request.Request({url!r}, headers={{"Metadata": {metadata!r}}})
try:
    answer = urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
END"""
    output = azure.outcome(script)["output"]
    status, _, body = output.partition("\n")
    return int(status), body.strip()


def test_a_host_that_is_not_simulated_is_refused_and_logged(azure: Azure) -> None:
    with pytest.raises(requests.exceptions.ProxyError):
        azure.plain("GET", "https://config.mlflow-telemetry.io/")
    assert azure.plain("GET", "http://example.com/").status_code == 502
    refused = [event["target"] for event in azure.control.events(type_="proxy_refused")]
    assert refused == ["config.mlflow-telemetry.io:443", "example.com"]


def test_only_who_trusts_the_private_authority_gets_through(azure: Azure) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        azure.plain("GET", f"https://management.azure.com{GROUP}", verify=True)


def test_everything_listens_on_loopback_only(azure: Azure) -> None:
    proxy = urllib.parse.urlsplit(azure.env["HTTPS_PROXY"])
    assert proxy.hostname == "127.0.0.1"
    mine = {
        urllib.parse.urlsplit(url).port
        for url in (
            azure.env["HTTPS_PROXY"],
            azure.env["IDENTITY_ENDPOINT"],
            azure.env["AZURESIM_CONTROL_URL"],
        )
    }
    for port in mine:
        with socket.socket() as other, pytest.raises(OSError):
            other.settimeout(1)
            other.connect(("127.0.0.2", port))


def test_nonsense_at_the_proxy_is_a_bad_request(azure: Azure) -> None:
    proxy = urllib.parse.urlsplit(azure.env["HTTPS_PROXY"])
    with socket.create_connection(("127.0.0.1", proxy.port or 0), timeout=5) as line:
        line.sendall(b"hello\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 400")


def test_the_identity_endpoint_wants_its_secret_and_a_known_identity(azure: Azure) -> None:
    assert requests.get(azure.env["IDENTITY_ENDPOINT"], timeout=5).status_code == 401
    app = azure.identity(client_id=azure.env["AZURE_CLIENT_ID"])
    assert app.json()["client_id"] == azure.env["AZURE_CLIENT_ID"]
    unknown = azure.identity(client_id="00000000-0000-0000-0000-000000000000")
    assert unknown.status_code == 400
    assert "No User Assigned or Delegated Managed Identity found" in unknown.json()["message"]


def test_calls_of_different_identities_can_be_told_apart(azure: Azure) -> None:
    app = azure.identity(client_id=azure.env["AZURE_CLIENT_ID"]).json()["access_token"]
    azure.send("GET", GROUP, token=app)
    azure.send("GET", GROUP)
    names = [event["principal"]["name"] for event in azure.control.events(type_="request")]
    assert names == ["muster-app", "host"]


def test_a_machine_gets_the_token_of_its_own_identity_only(azure: Azure) -> None:
    azure.create_vm()
    resource = "&resource=https://management.azure.com"
    mine = f"&client_id={azure.env['MUSTER_VM_IDENTITY_CLIENT_ID']}"
    status, body = fetched(azure, f"{_TOKEN}{resource}{mine}")
    assert status == 200
    assert json.loads(body)["client_id"] == azure.env["MUSTER_VM_IDENTITY_CLIENT_ID"]
    status, body = fetched(azure, f"{_TOKEN}{resource}&client_id={azure.env['AZURE_CLIENT_ID']}")
    assert (status, json.loads(body)) == (
        400,
        {"error": "invalid_request", "error_description": "Identity not found"},
    )
    status, body = fetched(azure, f"{_TOKEN}{resource}{mine}", metadata="no")
    assert (status, json.loads(body)["error_description"]) == (400, "Required metadata header not specified")
    (event,) = [e for e in azure.control.events(type_="token") if e["principal"]["machine"]]
    assert event["principal"]["machine"] == vm_id("a")


def test_a_machine_with_one_identity_need_not_name_it(azure: Azure) -> None:
    azure.create_vm()
    status, _ = fetched(azure, f"{_TOKEN}&resource=https://storage.azure.com")
    assert status == 200
    body = vm_body(azure.env, "b")
    del body["identity"]
    azure.send("PUT", vm_id("b"), body)
    azure.control.advance(60)
    script = f"curl -s -H Metadata:true '{_TOKEN}&resource=https://storage.azure.com'"
    assert json.loads(azure.outcome(script, "b")["output"])["error_description"] == "Identity not found"


def test_a_machines_identity_has_no_role_on_machines(azure: Azure) -> None:
    azure.create_vm()
    _, body = fetched(azure, f"{_TOKEN}&resource=https://management.azure.com")
    token = json.loads(body)["access_token"]
    answer = azure.send("DELETE", vm_id("a"), token=token)
    assert code(answer) == (403, "AuthorizationFailed")
    assert "Microsoft.Compute/virtualMachines/delete" in answer.json()["error"]["message"]


def test_a_machine_knows_itself(azure: Azure) -> None:
    azure.create_vm()
    status, body = fetched(azure, f"{_INSTANCE}?api-version=2021-02-01")
    compute = json.loads(body)["compute"]
    assert (status, compute["name"], compute["vmSize"], compute["location"]) == (
        200,
        "a",
        "Standard_D2s_v5",
        "westeurope",
    )
    assert {"name": "muster-lease", "value": "lease-1"} in compute["tagsList"]
    assert fetched(azure, f"{_INSTANCE}/compute/name?api-version=2021-02-01&format=text") == (200, "a")
    assert fetched(azure, _INSTANCE)[0] == 400


def test_the_host_has_no_metadata_service(azure: Azure) -> None:
    answer = azure.plain("GET", f"{_INSTANCE}?api-version=2021-02-01", headers={"Metadata": "true"})
    assert answer.status_code == 502


def test_a_deleted_machine_is_nobody_any_more(azure: Azure) -> None:
    azure.create_vm()
    url = azure.outcome("echo $HTTPS_PROXY")["output"].strip()
    azure.send("DELETE", vm_id("a"))
    azure.control.advance(30)
    answer = requests.get(
        f"{_INSTANCE}?api-version=2021-02-01", proxies={"http": url}, headers={"Metadata": "true"}, timeout=5
    )
    assert answer.status_code == 407


def test_a_script_reaches_no_host_that_is_not_simulated(azure: Azure) -> None:
    azure.create_vm()
    assert azure.outcome("curl -sS https://pypi.org")["exitCode"] != 0
    assert azure.control.events(type_="proxy_refused")[-1]["target"] == "pypi.org:443"
