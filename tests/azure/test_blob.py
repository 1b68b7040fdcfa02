"""Blob Storage through the real SDK on a real Azurite: who writes first wins, and nobody's change is lost."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests

from shared.azure import blob
from shared.domain.errors import ConflictError, NotFoundError, SpecError, TransientError
from tests.support.cloud import Cloud
from tests.support.lossy import LossyProxy

_STATE = "muster"


@pytest.fixture
def name(cloud: Cloud) -> str:
    """A blob name nobody has used."""
    return f"tests/{uuid.uuid4().hex}.json"


def test_the_first_writer_wins_and_the_second_is_told(name: str) -> None:
    assert blob.create_only(_STATE, name, b"first") is True
    assert blob.create_only(_STATE, name, b"second") is False

    assert blob.read(_STATE, name) == b"first"


def test_of_many_writers_exactly_one_wins(name: str) -> None:
    won: list[bytes] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if blob.create_only(_STATE, name, str(number).encode()):
            won.append(str(number).encode())

    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert won == [blob.read(_STATE, name)]


def test_a_change_made_meanwhile_is_not_overwritten(name: str) -> None:
    blob.create_only(_STATE, name, b"1")
    seen = blob.read_with_etag(_STATE, name)
    assert seen is not None

    assert blob.write_if_match(_STATE, name, b"2", etag=seen.etag) is True
    assert blob.write_if_match(_STATE, name, b"mine", etag=seen.etag) is False

    assert blob.read(_STATE, name) == b"2"


def test_no_etag_means_it_must_not_be_there(name: str) -> None:
    assert blob.write_if_match(_STATE, name, b"1", etag="") is True
    assert blob.write_if_match(_STATE, name, b"2", etag="") is False


def test_every_way_of_seeing_an_etag_gives_one_that_matches(name: str) -> None:
    blob.create_only(_STATE, name, b"1")
    (listed,) = blob.list_blobs(_STATE, name)
    read = blob.read_with_etag(_STATE, name)

    assert read is not None
    assert listed.etag == blob.head(_STATE, name).etag == read.etag
    assert blob.write_if_match(_STATE, name, b"2", etag=listed.etag) is True


def test_what_is_not_there_is_said_to_be_missing(name: str) -> None:
    assert blob.read_or_none(_STATE, name) is None
    assert blob.read_with_etag(_STATE, name) is None
    assert blob.exists(_STATE, name) is False
    blob.delete(_STATE, name)
    with pytest.raises(NotFoundError) as missing:
        blob.read(_STATE, name)
    assert missing.value.code == "BlobNotFound"


def test_a_missing_container_is_no_missing_blob(name: str) -> None:
    with pytest.raises(NotFoundError) as missing:
        blob.read_or_none("no-such-container", name)
    assert missing.value.code == "ContainerNotFound"
    with pytest.raises(NotFoundError):
        list(blob.list_blobs("no-such-container"))
    with pytest.raises(NotFoundError):
        blob.create_only("no-such-container", name, b"x")


def test_a_list_is_in_name_order_and_only_below_its_prefix(name: str) -> None:
    for number in (2, 0, 1):
        blob.create_only(_STATE, f"{name}.d/{number}", b"x" * number)
    blob.create_only(_STATE, f"{name}.e", b"")

    listed = list(blob.list_blobs(_STATE, f"{name}.d/"))

    assert [(b.name.removeprefix(f"{name}.d/"), b.size) for b in listed] == [("0", 0), ("1", 1), ("2", 2)]
    assert all(abs(b.last_modified - datetime.now(UTC)) < timedelta(minutes=5) for b in listed)


def test_a_delete_with_an_etag_spares_a_newer_blob(name: str) -> None:
    blob.create_only(_STATE, name, b"1")
    old = blob.head(_STATE, name).etag
    blob.write_if_match(_STATE, name, b"2", etag=old)

    with pytest.raises(ConflictError):
        blob.delete(_STATE, name, etag=old)
    blob.delete(_STATE, name)

    assert blob.exists(_STATE, name) is False


def test_json_is_read_as_it_was_written(name: str) -> None:
    blob.create_only(_STATE, name, b'{"n": 1}')

    assert blob.read_json(_STATE, name) == {"n": 1}


@pytest.mark.parametrize(
    "bad",
    ["", "a/../b", "../a", "a//b", "/a", "a/", ".", "a/./b", "a\\b", "a\x00b", "a\nb", "x" * 1025, "a."],
)
def test_a_name_that_could_reach_elsewhere_is_refused_before_any_request(bad: str) -> None:
    with pytest.raises(SpecError):
        blob.create_only(_STATE, bad, b"x")


@pytest.mark.parametrize("bad", ["", "ab", "Upper", "a--b", "-ab", "ab-", "a/b", "x" * 64, "$root"])
def test_a_container_that_cannot_be_is_refused_before_any_request(bad: str) -> None:
    with pytest.raises(SpecError):
        blob.read(bad, "a")


def test_the_time_is_the_storage_s_own(cloud: Cloud) -> None:
    assert abs(blob.service_now(_STATE) - datetime.now(UTC)) < timedelta(minutes=5)


def _use_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, url)
    blob._service.cache_clear()


@pytest.fixture
def deaf_storage(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Storage that is not reachable: the proxy's port has nobody listening."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        _use_proxy(monkeypatch, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        yield
    blob._service.cache_clear()


def test_storage_that_cannot_be_reached_is_worth_another_try(deaf_storage: None, name: str) -> None:
    with pytest.raises(TransientError) as refused:
        blob.read(_STATE, name)
    assert refused.value.code == "NoAnswer"


@pytest.fixture
def lossy(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    """A connection to storage whose next answer can be lost."""
    with LossyProxy(os.environ["HTTPS_PROXY"]) as proxy:
        _use_proxy(monkeypatch, proxy.url)
        list(blob.list_blobs(_STATE, "x"))  # connect: what is to be lost is an answer, not a handshake
        yield proxy
    blob._service.cache_clear()


def test_a_write_whose_answer_is_lost_counts_by_what_is_stored(lossy: LossyProxy, name: str) -> None:
    lossy.lose_next_answer()

    assert blob.create_only(_STATE, name, b"mine") is True

    assert lossy.has_lost
    assert blob.read(_STATE, name) == b"mine"


def test_a_refused_write_whose_answer_is_lost_is_not_taken_for_ours(lossy: LossyProxy, name: str) -> None:
    blob.create_only(_STATE, name, b"theirs")
    lossy.lose_next_answer()

    assert blob.create_only(_STATE, name, b"mine") is False
    assert lossy.has_lost


def test_a_read_whose_answer_is_lost_is_worth_another_try(lossy: LossyProxy, name: str) -> None:
    blob.create_only(_STATE, name, b"mine")
    lossy.lose_next_answer()

    with pytest.raises(TransientError) as lost:
        blob.read(_STATE, name)

    assert lost.value.code == "NoAnswer"
    assert blob.read(_STATE, name) == b"mine"


def test_an_idle_connection_is_kept_as_long_as_azure_keeps_it(cloud: Cloud) -> None:
    """Five seconds, Azurite's own, often end while the next request is on its way: it is lost then."""
    anyone = requests.get(f"{os.environ['MUSTER_STORAGE_ACCOUNT_URL']}/muster", timeout=10)

    assert anyone.headers["Keep-Alive"] == "timeout=240"
