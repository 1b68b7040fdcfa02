"""Guards of what serves: whose endpoint it is, which map is believed, and where a key goes."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SERVERS = "tests/platforms/test_servers.py"
_BODIES = "tests/azure/test_ml_serving_bodies.py"
_CLIENT = "tests/azure/test_scoring_client.py"
_METRICS = "tests/azure/test_endpoint_metrics.py"

ENDPOINTS = (
    Mutant(
        name="endpoint-epoch-fences",
        file="shared/azure/ml_endpoints.py",
        old="    if epoch_of(seen.body) > epoch:\n",
        new="    if False:\n",
        tests=(f"{_SERVERS}::test_who_holds_a_lower_epoch_writes_nothing",),
    ),
    Mutant(
        name="endpoint-must-be-ours",
        file="shared/azure/ml_endpoints.py",
        old="    if tags_of(endpoint.body).get(TAG_APP) != settings.app:\n",
        new="    if False:\n",
        tests=(f"{_SERVERS}::test_an_endpoint_that_is_not_ours_is_left_alone",),
    ),
    Mutant(
        name="fresh-reads-are-not-believed",
        file="shared/azure/ml_serving.py",
        old=" and ml_endpoints.is_settled(seen):\n",
        new=":\n",
        tests=(f"{_SERVERS}::test_a_map_that_was_read_right_after_a_change_is_not_believed",),
    ),
    Mutant(
        name="traffic-keeps-the-endpoint",
        file="shared/azure/ml_endpoints.py",
        old='    return body | {"tags": {**(endpoint.get("tags") or {}), TAG_EPOCH: str(epoch)}, ',
        new='    return body | {"tags": {TAG_EPOCH: str(epoch)}, ',
        tests=(f"{_BODIES}::test_a_change_of_traffic_keeps_everything_else",),
    ),
    Mutant(
        name="only-ready-takes-traffic",
        file="shared/azure/ml_serving.py",
        old="        if state is not DeploymentState.READY:\n",
        new="        if False:\n",
        tests=(f"{_SERVERS}::test_no_traffic_for_what_is_not_ready",),
    ),
    Mutant(
        name="no-deletion-under-traffic",
        file="shared/azure/ml_serving.py",
        old="        if weight:\n",
        new="        if False:\n",
        tests=(f"{_SERVERS}::test_what_has_traffic_is_not_deleted",),
    ),
    Mutant(
        name="deployment-must-be-of-the-run",
        file="shared/azure/ml_deployments.py",
        old="    return (tags.get(TAG_APP), tags.get(TAG_OWNER), tags.get(TAG_EPOCH)) == wanted\n",
        new="    return tags.get(TAG_APP) == wanted[0]\n",
        tests=(f"{_SERVERS}::test_another_run_s_deployment_of_that_name_is_left_alone",),
    ),
    Mutant(
        name="deletion-asks-for-the-owner",
        file="shared/azure/ml_serving.py",
        old="(run and tags.get(TAG_OWNER) != run)",
        new="False",
        tests=(f"{_SERVERS}::test_another_run_s_deployment_of_that_name_is_left_alone",),
    ),
    Mutant(
        name="a-key-goes-to-models-only",
        file="shared/azure/ml_endpoints.py",
        old='    if not fits or not host or _NOT_A_SCORER.match(where.netloc.rpartition("@")[2]) or where.username:\n',
        new="    if not fits or not host:\n",
        tests=(f"{_BODIES}::test_a_key_goes_to_a_model_s_address_only",),
    ),
    Mutant(
        name="failures-are-read-at-azure-only",
        file="shared/azure/ml_deployments.py",
        old="    if not _OPERATION.fullmatch(uri):  # the token goes nowhere else\n",
        new="    if not uri:\n",
        tests=(f"{_BODIES}::test_a_failure_s_address_is_followed_only_to_azure_s_own_operations",),
    ),
    Mutant(
        name="logs-are-redacted",
        file="shared/azure/ml_deployments.py",
        old='    return redact("\\n".join(text.splitlines()[-tail:]))[-MAX_LOG:]\n',
        new='    return "\\n".join(text.splitlines()[-tail:])[-MAX_LOG:]\n',
        tests=(f"{_SERVERS}::test_a_log_is_bounded_and_holds_no_secret",),
    ),
    Mutant(
        name="archive-is-the-one-that-was-fixed",
        file="shared/azure/ml_codes.py",
        old="    if hashlib.sha256(data).hexdigest() != archive.sha256:\n",
        new="    if False:\n",
        tests=(f"{_BODIES}::test_code_that_is_not_what_was_fixed_or_leads_elsewhere_is_refused",),
    ),
)

SCORING = (
    Mutant(
        name="scoring-header-does-not-stick",
        file="shared/azure/scoring_client.py",
        old='        headers = {**self.headers, "Content-Type": "application/json"}\n',
        new="        headers: Any = self.headers\n",
        tests=(f"{_CLIENT}::test_a_deployment_is_named_in_its_request_and_in_no_other",),
    ),
    Mutant(
        name="scoring-follows-no-redirect",
        file="shared/azure/scoring_client.py",
        old="redirect=False, retries=False",
        new="redirect=True, retries=2",
        tests=(f"{_CLIENT}::test_a_redirect_is_not_followed",),
    ),
    Mutant(
        name="silence-is-not-zero",
        file="shared/azure/endpoint_metrics.py",
        old='if point.get("average") is not None and minute >= since:',
        new="if minute >= since:",
        tests=(f"{_METRICS}::test_a_deployment_that_nobody_counted_has_no_newest_and_no_latency",),
    ),
    Mutant(
        name="metrics-of-the-window-only",
        file="shared/azure/endpoint_metrics.py",
        old='if point.get("average") is not None and minute >= since:',
        new='if point.get("average") is not None:',
        tests=(f"{_METRICS}::test_what_was_before_the_window_is_not_counted",),
    ),
)
MUTANTS = (*ENDPOINTS, *SCORING)
