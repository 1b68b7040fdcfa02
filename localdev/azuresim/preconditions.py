"""If-Match and If-None-Match, as ARM's providers take them."""

from __future__ import annotations

from localdev.azuresim.errors import precondition_failed
from localdev.azuresim.routing import Call
from localdev.azuresim.store import Resource


def check(call: Call, found: Resource | None) -> None:
    """Raises 412 when the state of `found` (None: it is not there) is not the one the request was meant for."""
    wanted, unwanted = call.headers.get("If-Match"), call.headers.get("If-None-Match")
    if wanted and found is None:
        raise precondition_failed(f"If-Match {wanted} on a resource that does not exist")
    if found is None:
        return
    if wanted and wanted != "*" and _bare(wanted) != _bare(found.etag):
        raise precondition_failed(f"If-Match {wanted}, the resource's etag is {found.etag}")
    if unwanted and (unwanted == "*" or _bare(unwanted) == _bare(found.etag)):
        raise precondition_failed(f"If-None-Match {unwanted}, and {found.id} exists")


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
