"""Guards at the edge of deployments: who may ask, who gets an endpoint, whose word counts, what an event may start."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_START, _ROUTES, _BODY = (
    "shared/triggers/start.py",
    "shared/triggers/deployments.py",
    "shared/triggers/deploy_body.py",
)
_WORDS, _RECORDS = "shared/triggers/approvals.py", "shared/azure/approval_records.py"
_BY_EVENT = "shared/triggers/model_events.py"
_ASKING, _DECIDING = "tests/triggers/test_deployments.py", "tests/triggers/test_approvals.py"
_EVENTS, _KEYS = "tests/events/test_model_events.py", "tests/runner/test_keys.py"
_WHO = "tests/triggers/test_principals.py"
_RACE = (f"{_ASKING}::TestBusy::test_of_many_that_ask_at_once_one_gets_the_endpoint_and_the_others_are_told",)
_ONE_RECORD = (f"{_DECIDING}::test_an_approval_is_one_record_with_who_when_and_what",)

MUTANTS = (
    Mutant(
        name="a-refused-hold-refuses-the-request",
        file=_START,
        old="        if not hold.granted:\n",
        new="        if False:\n",
        tests=_RACE,
    ),
    Mutant(
        name="the-loser-of-a-race-leaves-no-claim",
        file=_ROUTES,
        old="        await asyncio.to_thread(withdraw, request.run)\n        raise\n",
        new="        raise\n",
        tests=_RACE,
    ),
    Mutant(
        name="a-key-stands-for-one-body",
        file=_ROUTES,
        old="not in (None, self.told)",
        new="== 5",
        tests=(f"{_ASKING}::TestBusy::test_a_key_gives_the_same_answer_and_no_other_request",),
    ),
    Mutant(
        name="no-way-round-a-declared-policy",
        file=_BODY,
        old="    _refuse_to_go_round(workload)\n    return",
        new="    return",
        tests=(f"{_ASKING}::TestBodies::test_nobody_goes_round_a_declared_policy",),
    ),
    Mutant(
        name="a-request-waives-nothing",
        file=_BODY,
        old="    if waived := _waived(workload):\n",
        new="    if waived := []:\n",
        tests=(f"{_ASKING}::TestBodies::test_every_fault_is_told_at_once[waived]",),
    ),
    Mutant(
        name="archived-versions-are-not-deployed",
        file="shared/triggers/deploy_checks.py",
        old="    if ml_registry.is_archived(name, fixed):\n",
        new="    if False:\n",
        tests=(f"{_ASKING}::TestBodies::test_a_version_that_was_put_out_of_use_is_not_deployed",),
    ),
    Mutant(
        name="deciding-takes-the-role",
        file=_WORDS,
        old='    require(who, APPROVE, to=f"{word} a deployment")\n',
        new="",
        tests=_ONE_RECORD,
    ),
    Mutant(
        name="an-approval-is-held-against-its-request",
        file=_WORDS,
        old="    fault = fault_of(approval, asked)\n",
        new='    fault = ""\n',
        tests=(*_ONE_RECORD, f"{_DECIDING}::test_who_asked_may_reject_and_not_approve"),
    ),
    Mutant(
        name="the-first-word-counts",
        file=_RECORDS,
        old="    return ledger.claim(_decision_path(run, number), approval)\n",
        new="    ledger.delete(_decision_path(run, number))\n"
        "    return ledger.claim(_decision_path(run, number), approval)\n",
        tests=_ONE_RECORD,
    ),
    Mutant(
        name="a-pause-is-its-own-question",
        file=_RECORDS,
        old="max(numbers, default=0)",
        new="0",
        tests=(f"{_DECIDING}::test_a_pause_is_decided_by_its_own_digest",),
    ),
    Mutant(
        name="headers-are-believed-where-the-platform-vouches",
        file="shared/triggers/principals.py",
        old="    if not is_platform_auth_on() or not id_:\n",
        new="    if not id_:\n",
        tests=(f"{_WHO}::test_where_it_does_not_headers_are_the_clients_own_words",),
    ),
    Mutant(
        name="the-runner-takes-forged-identities-away",
        file="localdev/runner/platform_auth.py",
        old="if not name.lower().startswith(_OURS)",
        new="if True",
        tests=(f"{_KEYS}::test_where_keys_stand_for_people_what_a_client_says_of_itself_is_taken_away",),
    ),
    Mutant(
        name="our-own-registrations-start-nothing",
        file=_BY_EVENT,
        old='    if marks.get("causedby", "").casefold().startswith(OWN):\n',
        new="    if False:\n",
        tests=(f"{_EVENTS}::test_what_we_registered_starts_nothing_whatever_the_event_says",),
    ),
    Mutant(
        name="of-two-registered-versions-the-newer",
        file=_BY_EVENT,
        old="    if newer:\n",
        new="    if False:\n",
        tests=(f"{_EVENTS}::test_of_two_versions_at_a_time_the_newer_is_deployed",),
    ),
    Mutant(
        name="what-was-overtaken-is-dropped",
        file=_START,
        old="        if record.holder is None and (reason := overtaken_by(request, record)):\n",
        new="        if False:\n",
        tests=(f"{_EVENTS}::test_what_was_overtaken_while_it_waited_is_not_deployed",),
    ),
    Mutant(
        name="what-an-event-asked-for-waits-its-turn",
        file=_START,
        old="            if request.started_by.startswith(",
        new="            if True or (",
        tests=(f"{_EVENTS}::test_while_the_endpoint_is_busy_it_waits_its_turn",),
    ),
)
