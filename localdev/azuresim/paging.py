"""Long lists in pages, with a `nextLink` to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from localdev.azuresim.errors import ArmError
from localdev.azuresim.routing import Call

_ENDPOINT = "https://management.azure.com"


def page(call: Call, items: Sequence[Any], size: int) -> dict[str, Any]:
    """One page of `items`: from the `$skiptoken` of the request on, at most `size` (or `$top`, if smaller).

    With `$top` there is no next page beyond it: it bounds the whole list (as Microsoft.Resources documents).
    """
    top = call.query.get("$top")
    wanted = items[: _number("$top", top)] if top is not None else items
    start = _number("$skiptoken", call.query.get("$skiptoken", "0"))
    body: dict[str, Any] = {"value": list(wanted[start : start + size])}
    if start + size < len(wanted):
        query = {**call.query, "$skiptoken": str(start + size)}
        body["nextLink"] = f"{_ENDPOINT}{quote(call.path)}?{urlencode(query, safe='$')}"
    return body


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise ArmError(
            400, "InvalidQueryParameter", f"The value '{text}' of query parameter '{name}' is invalid."
        )
    return int(text)
