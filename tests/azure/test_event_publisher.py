"""Our own events reach Event Grid as CloudEvents: the same notice is the same event, and one refused stops nothing."""

from __future__ import annotations

import uuid
from typing import Any

from activities.notices import publish_notice
from shared.domain.notices import Notice, NoticeKind
from tests.support.cloud import START, Cloud, environment

TOPIC = "MUSTER_EVENT_TOPIC_ENDPOINT"


def _notice(kind: NoticeKind = NoticeKind.COMPLETED, **changes: Any) -> Notice:
    run = f"deploy-live-manual-{uuid.uuid4().hex[:16]}"
    values = {"run": run, "endpoint": "live", "model": "flights:19", "at": START, **changes}
    return Notice(kind=kind, **values)


def _told(cloud: Cloud, notice: Notice) -> list[dict[str, Any]]:
    events = cloud.control.events(type_="grid_event")
    return [each for each in events if each["subject"] == notice.subject]


def test_a_notice_told_twice_is_one_event(cloud: Cloud) -> None:
    notice = _notice()
    assert [publish_notice(notice).sent for _ in range(2)] == [True, True]
    first, second = _told(cloud, notice)
    assert first["id"] == second["id"] == notice.id
    assert first["event_type"] == "Muster.Deployment.Completed"
    assert first["source"].endswith("/topics/muster-events")


def test_two_requests_for_approval_in_one_run_are_two_events(cloud: Cloud) -> None:
    notice = _notice(NoticeKind.AWAITING_APPROVAL, about="a" * 64)
    paused = notice.model_copy(update={"about": "b" * 64})
    assert all(publish_notice(each).sent for each in (notice, paused))
    assert {each["id"] for each in _told(cloud, notice)} == {notice.id, paused.id}
    assert notice.id != paused.id


def test_without_a_topic_nothing_is_sent_and_it_says_so(cloud: Cloud) -> None:
    notice = _notice()
    with environment({**cloud.settings, TOPIC: ""}):
        told = publish_notice(notice)
    assert (told.sent, TOPIC in told.note) == (False, True)
    assert _told(cloud, notice) == []


def test_a_topic_that_was_deleted_fails_no_deployment(cloud: Cloud) -> None:
    gone = cloud.settings[TOPIC].replace("muster-events", "deleted")
    with environment({**cloud.settings, TOPIC: gone}):
        told = publish_notice(_notice())
    assert not told.sent and "Muster.Deployment.Completed was not published" in told.note
