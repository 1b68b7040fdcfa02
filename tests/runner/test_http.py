"""HTTP triggers over real HTTP."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localdev.runner import AppError, Runner
from localdev.runner.http_trigger import MAX_BODY_BYTES
from tests.runner.support import APPS, call


def test_a_request_reaches_the_function_as_it_was_sent(basics: Runner) -> None:
    answer = call("PUT", f"{basics.url}/api/echo?a=1&b=x%20y&a=2", headers={"x-thing": "T"}, raw=b"12345")
    assert answer.status == 200
    assert answer.headers["X-Answer"] == "yes"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "method": "PUT",
        "url": f"{basics.url}/api/echo?a=1&b=x%20y&a=2",
        "query": {"a": "1,2", "b": "x y"},
        "header": "T",
        "length": 5,
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "items/12", 200, "number 12"),
        ("GET", "items/twelve", 200, "name twelve"),
        ("GET", "items/special", 200, "special"),
        ("DELETE", "items/12", 204, ""),
        ("GET", "files/a/b%2Fc", 200, "a/b/c"),
        ("GET", "context", 200, "with_context 36"),
        ("GET", "nowhere", 404, ""),
        ("PUT", "items/12", 404, ""),
        ("GET", "raises", 500, ""),
    ],
)
def test_routes(basics: Runner, method: str, path: str, status: int, text: str) -> None:
    answer = call(method, f"{basics.url}/api/{path}")
    assert (answer.status, answer.text) == (status, text)


def test_a_foreign_host_name_is_refused(basics: Runner) -> None:
    for host, status in (
        ("attacker.example", 403),
        ("localhost:1", 200),
        ("[::1]:80", 200),
        ("127.1.2.3", 200),
    ):
        assert call("GET", f"{basics.url}/api/items/1", headers={"Host": host}).status == status


def test_a_page_of_another_origin_is_refused(basics: Runner) -> None:
    url = f"{basics.url}/admin/functions/nightly"
    for origin, status in (("https://attacker.example", 403), ("null", 403), ("http://localhost:3000", 202)):
        assert call("POST", url, {}, {"Origin": origin}).status == status


def test_a_body_over_the_limit_is_refused_and_the_host_lives(basics: Runner) -> None:
    target = urlsplit(basics.url)
    connection = http.client.HTTPConnection(str(target.hostname), target.port, timeout=30)
    connection.putrequest("POST", "/api/echo")
    connection.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
    connection.endheaders()
    block = b"x" * (1 << 20)
    try:
        for _ in range(MAX_BODY_BYTES // len(block) + 1):
            connection.send(block)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert connection.getresponse().status == 413
    connection.close()
    assert call("GET", f"{basics.url}/api/items/1").status == 200


def test_host_status_says_running(basics: Runner) -> None:
    assert call("GET", f"{basics.url}/admin/host/status").json()["state"] == "Running"
    names = {f["name"] for f in call("GET", f"{basics.url}/admin/functions").json()}
    assert {"nightly", "on_event", "echo"} <= names


def test_without_a_key_file_everything_is_open(basics: Runner) -> None:
    assert call("GET", f"{basics.url}/api/guarded").status == 200
    assert call("GET", f"{basics.url}/api/master-only").status == 200


def test_the_port_is_free_again_after_stop() -> None:
    with Runner(APPS / "chaining") as runner:
        port = urlsplit(runner.url).port
    assert port
    socket.create_server(("127.0.0.1", port)).close()


def test_the_route_prefix_of_host_json(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}')
    (tmp_path / "function_app.py").write_text(
        "import azure.functions as func\n"
        "app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n"
        "@app.route(route='hello/{name?}')\n"
        "def hello(req: func.HttpRequest) -> str:\n"
        "    return 'hello ' + req.route_params.get('name', 'nobody')\n"
    )
    with Runner(tmp_path) as runner:
        assert call("GET", f"{runner.url}/hello").text == "hello nobody"
        assert call("GET", f"{runner.url}/hello/you").text == "hello you"
        assert call("GET", f"{runner.url}/").status == 200


def test_only_one_runner_at_a_time_in_a_process(basics: Runner) -> None:
    with pytest.raises(RuntimeError, match="another Runner"):
        Runner(APPS / "chaining").start()


def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Runner(APPS / "chaining", port=taken.getsockname()[1]).start()
    with Runner(APPS / "chaining") as runner:
        assert call("GET", f"{runner.url}/admin/host/status").status == 200


def test_an_app_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"host\.json"):
        Runner(tmp_path).start()
    with Runner(APPS / "chaining") as runner:
        assert call("GET", f"{runner.url}/admin/host/status").status == 200
