"""ASP.NET route templates."""

from __future__ import annotations

import pytest

from localdev.runner.errors import AppError
from localdev.runner.routing import Route, RouteTable, RouteTemplate


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("runs", "/runs", {}),
        ("runs", "/RUNS/", {}),
        ("runs", "/runs/1", None),
        ("runs/{id}", "/runs/a%2Fb", {"id": "a/b"}),
        ("runs/{id}", "/runs", None),
        ("runs/{id:int}", "/runs/-12", {"id": "-12"}),
        ("runs/{id:int}", "/runs/x", None),
        ("runs/{id:int}", "/runs/2147483648", None),
        ("runs/{id:long}", "/runs/2147483648", {"id": "2147483648"}),
        (
            "runs/{id:guid}",
            "/runs/11111111-1111-1111-1111-111111111111",
            {"id": "11111111-1111-1111-1111-111111111111"},
        ),
        ("runs/{id:guid}", "/runs/1", None),
        ("runs/{ok:bool}", "/runs/TRUE", {"ok": "TRUE"}),
        ("runs/{id:int:range(1,9)}", "/runs/9", {"id": "9"}),
        ("runs/{id:int:range(1,9)}", "/runs/10", None),
        ("runs/{name:alpha:minlength(2)}", "/runs/a", None),
        ("runs/{name:length(2,3)}", "/runs/abc", {"name": "abc"}),
        (r"runs/{ssn:regex(^\d{{3}}-\d{{2}}$)}", "/runs/123-45", {"ssn": "123-45"}),
        (r"runs/{ssn:regex(^\d{{3}}-\d{{2}}$)}", "/runs/12-45", None),
        ("runs/{id?}", "/runs", {}),
        ("runs/{id:int?}", "/runs/7", {"id": "7"}),
        ("runs/{page=1}", "/runs", {"page": "1"}),
        ("runs/{page:int=1}", "/runs/2", {"page": "2"}),
        ("files/{*rest}", "/files/a/b%20c", {"rest": "a/b c"}),
        ("files/{*rest}", "/files", {"rest": ""}),
        ("files/{**rest}", "/files/a/b", {"rest": "a/b"}),
        ("files/{name}.{extension}", "/files/a.b.txt", {"name": "a", "extension": "b.txt"}),
        ("v{major:int}/x", "/v2/x", {"major": "2"}),
        ("{*all}", "/", {"all": ""}),
    ],
)
def test_a_template_matches(template: str, path: str, expected: dict[str, str] | None) -> None:
    assert RouteTemplate(template).match(path) == expected


@pytest.mark.parametrize("template", ["a/{b", "a/b}", "a/{}", "{*rest}/b", "a/{id:prime}"])
def test_a_template_that_cannot_be_read_is_refused(template: str) -> None:
    with pytest.raises(AppError):
        RouteTemplate(template)


def test_the_most_specific_route_wins_whatever_the_order() -> None:
    templates = ["{*all}", "items/{name}", "items/{id:int}", "items/special"]
    table = RouteTable(Route(RouteTemplate(t), frozenset(), t) for t in templates)

    def target(path: str) -> str | None:
        found = table.find("GET", path)
        return found[0] if found else None

    assert [target(p) for p in ("/items/special", "/items/7", "/items/x", "/other/x")] == [
        "items/special",
        "items/{id:int}",
        "items/{name}",
        "{*all}",
    ]


def test_a_route_for_another_method_does_not_hide_one_for_this() -> None:
    table = RouteTable(
        [
            Route(RouteTemplate("items/{id:int}"), frozenset({"GET"}), "read"),
            Route(RouteTemplate("items/{name}"), frozenset({"DELETE"}), "delete"),
        ]
    )
    found = table.find("DELETE", "/items/7")
    assert found == ("delete", {"name": "7"})
    assert table.find("PUT", "/items/7") is None
