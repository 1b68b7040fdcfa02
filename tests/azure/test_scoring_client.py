"""Our own client of scoring addresses, against a real server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.azure.scoring_client import DEPLOYMENT_HEADER, MAX_ANSWER, ScoringClient
from tests.support.cloud import environment


@dataclass
class Scorer:
    """A server that does what the request's body says, and keeps the headers it was sent."""

    uri: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        self.seen.append({name.lower(): value for name, value in handler.headers.items()})
        if body == "wait":
            self.answering.wait(20)
        if body == "hang up":
            handler.close_connection = True
            return
        status = int(body) if body.isdecimal() else 200
        content = b"x" * (MAX_ANSWER + 5) if body == "much" else b'{"predictions": [0.5]}'
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        if status == 302:
            handler.send_header("Location", self.uri + "/elsewhere")
        if status == 424:
            handler.send_header("ms-azureml-model-error-statuscode", "500")
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def scorer() -> Iterator[Scorer]:
    found = Scorer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            found.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found.uri = f"http://127.0.0.1:{server.server_address[1]}/score"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.answering.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def client(scorer: Scorer) -> Iterator[ScoringClient]:
    with ScoringClient(scorer.uri, {"Authorization": "Bearer the-key"}, timeout_s=10) as client:
        yield client


def test_a_deployment_is_named_in_its_request_and_in_no_other(scorer: Scorer, client: ScoringClient) -> None:
    client.score(b"{}", deployment="green")
    client.score(b"{}")
    with ScoringClient(scorer.uri, {"Authorization": "Bearer another"}) as other:
        other.score(b"{}")
    client.score(b"{}", deployment="blue")

    assert [each.get(DEPLOYMENT_HEADER) for each in scorer.seen] == ["green", None, None, "blue"]
    assert [each["authorization"] for each in scorer.seen][:3] == ["Bearer the-key"] * 2 + ["Bearer another"]


def test_threads_share_a_client_and_no_header(scorer: Scorer, client: ScoringClient) -> None:
    names = [None if n % 3 == 0 else f"d{n % 3}" for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: client.score(b"{}", deployment=name), names))

    assert all(answer.status == 200 and answer.latency_s > 0 for answer in answers)
    assert sorted(str(each.get(DEPLOYMENT_HEADER)) for each in scorer.seen) == sorted(map(str, names))


def test_a_redirect_is_not_followed(scorer: Scorer, client: ScoringClient) -> None:
    assert client.score(b"302").status == 302
    assert len(scorer.seen) == 1


def test_no_answer_is_an_answer_too(scorer: Scorer, client: ScoringClient) -> None:
    with ScoringClient(scorer.uri, {}, timeout_s=0.3) as hasty:
        late = hasty.score(b"wait")
    cut = client.score(b"hang up")
    with ScoringClient("http://127.0.0.1:9/score", {"Authorization": "Bearer the-key"}) as nowhere:
        gone = nowhere.score(b"{}")

    assert [each.status for each in (late, cut, gone)] == [0, 0, 0]
    assert late.error.startswith("ReadTimeoutError") and cut.error and gone.error
    assert "the-key" not in f"{gone}{gone.error}{nowhere}"
    assert len(scorer.seen) == 2, "a request that may have been answered is not sent again"


def test_a_failed_model_is_told_from_a_failed_endpoint(client: ScoringClient) -> None:
    answer = client.score(b"424")

    assert (answer.status, answer.model_status, answer.is_success) == (424, 500, False)


def test_an_answer_is_read_up_to_a_bound_and_the_next_one_is_whole(client: ScoringClient) -> None:
    assert len(client.score(b"much").body) == MAX_ANSWER
    assert client.score(b"{}").body == b'{"predictions": [0.5]}'


def test_the_environment_s_proxy_is_used_unless_it_excepts_the_host(scorer: Scorer) -> None:
    nobody = "http://127.0.0.1:9"
    through = {"HTTP_PROXY": nobody, "http_proxy": nobody, "NO_PROXY": "", "no_proxy": ""}
    around = {**through, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    with environment(through), ScoringClient(scorer.uri, {}) as client:
        assert client.score(b"{}").error.startswith("ProxyError")
    with environment(around), ScoringClient(scorer.uri, {}) as client:
        assert client.score(b"{}").status == 200
