"""Whom the app takes a caller for: only whom the platform vouches for, and only where it does."""

from __future__ import annotations

import base64
import json
from typing import Any

import azure.functions as func
import pytest

from shared.triggers.principals import APPROVE, DEPLOY, Forbidden, Principal, principal_of, require


def request(*roles: str, typ: str = "roles", raw: str = "", **headers: str) -> func.HttpRequest:
    claims = [{"typ": typ, "val": role} for role in roles]
    document = json.dumps({"auth_typ": "aad", "claims": claims, "role_typ": typ})
    named = {
        "x-ms-client-principal-id": "11-22", "x-ms-client-principal-name": "ann@contoso.com",
        "x-ms-client-principal": raw or base64.b64encode(document.encode()).decode(),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }  # fmt: skip
    return func.HttpRequest("POST", "https://app/api/deployments", headers=named, body=b"")


@pytest.fixture
def vouching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", "True")


@pytest.mark.usefixtures("vouching")
class TestWhereThePlatformVouches:
    def test_the_caller_is_known_by_id_name_and_roles(self) -> None:
        found = principal_of(request(DEPLOY, APPROVE))
        assert found == Principal(id="11-22", name="ann@contoso.com", roles=frozenset({DEPLOY, APPROVE}))
        assert (str(found), found.is_named) == ("ann@contoso.com", True)

    def test_roles_are_found_under_the_claim_that_names_them(self) -> None:
        found = principal_of(request(APPROVE, typ="http://schemas.microsoft.com/roles-of-ours"))
        assert found.roles == {APPROVE}

    @pytest.mark.parametrize(
        "raw", ["%", "bm9uZQ==", "W10=", "e30=", "eyJjbGFpbXMiOiA1fQ==", "eyJjbGFpbXMiOiBbMV19"]
    )
    def test_a_header_that_cannot_be_read_gives_no_role(self, raw: str) -> None:
        found = principal_of(request(raw=raw))
        assert (found.id, found.roles) == ("11-22", frozenset())
        with pytest.raises(
            Forbidden, match=r"ann@contoso\.com may not deploy: it takes the app role Model\.Deploy"
        ):
            require(found, DEPLOY, to="deploy")

    def test_a_caller_without_identity_has_no_role_whatever_key_it_has(self) -> None:
        found = principal_of(request(DEPLOY, **{"x-ms-client-principal-id": ""}))
        assert found == Principal()
        with pytest.raises(Forbidden, match="function key may not approve"):
            require(found, APPROVE, to="approve")

    def test_any_of_the_roles_will_do(self) -> None:
        require(principal_of(request(APPROVE)), DEPLOY, APPROVE, to="cancel")

    def test_names_are_kept_on_one_line(self) -> None:
        found = principal_of(request(**{"x-ms-client-principal-name": "ann\r\nInjected: x" + "y" * 500}))
        assert "\n" not in found.name and len(found.name) <= 200


@pytest.mark.parametrize("setting", [None, "", "false", "0"])
def test_where_it_does_not_headers_are_the_clients_own_words(
    monkeypatch: pytest.MonkeyPatch, setting: Any
) -> None:
    if setting is None:
        monkeypatch.delenv("WEBSITE_AUTH_ENABLED", raising=False)
    else:
        monkeypatch.setenv("WEBSITE_AUTH_ENABLED", setting)
    found = principal_of(request(DEPLOY, APPROVE))
    assert found == Principal()
    require(found, DEPLOY, to="deploy")  # the function key is the permission there
