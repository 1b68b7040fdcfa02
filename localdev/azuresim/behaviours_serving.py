"""Behaviours of online endpoints' data plane: servers, router, metrics."""

from __future__ import annotations

from localdev.azuresim.behaviours_core import Row

_STATUS = "learn: machine-learning/how-to-troubleshoot-online-endpoints, HTTP status codes"
_SERVER = "azureml-inference-server-http 1.5.1, which is what runs"
_LIMITS = "learn: machine-learning/how-to-manage-quotas, online endpoints"
_ROLLOUT = "learn: machine-learning/how-to-safely-rollout-online-endpoints"
_METRICS = "learn: azure-monitor/reference/supported-metrics, workspaces/onlineEndpoints"
_MONITOR = "azure-rest-api-specs monitor 2018-01-01 metrics_API.json and its examples"

SERVING: tuple[Row, ...] = (
    ("a deployment is served by Azure ML's inference server with synchronous workers", "doc", _SERVER),
    (
        "a server has as many worker processes as WORKER_COUNT says, and one by default, whatever its instance's size",
        "doc",
        "learn: machine-learning/how-to-inference-server-http, server parameters; reference-yaml-deployment-"
        "managed-online, max_concurrent_requests_per_instance",
    ),
    (
        "an instance has this machine's processors: sizes differ by their workers, memory, quota and price",
        "assumed",
        "the simulator's own: what waits shows in latency as it would there, what computes does not",
    ),
    (
        "the scripts see AZUREML_MODEL_DIR, AML_APP_ROOT, AZUREML_ENTRY_SCRIPT and the deployment's variables",
        "doc",
        "learn: machine-learning/how-to-inference-server-http, how-to-deploy-online-endpoints",
    ),
    (
        "the servers of an endpoint get tokens from MSI_ENDPOINT with MSI_SECRET",
        "doc",
        "learn: machine-learning/how-to-access-resources-from-endpoints-managed-identities",
    ),
    (
        "a script that fails to load or in init() ends its server with code 3",
        "doc",
        f"{_SERVER}: aml_blueprint.py",
    ),
    (
        "a server that ends or uses more memory than its limit is started again, later each time",
        "doc",
        "kubernetes.io: concepts/workloads/pods/pod-lifecycle, restart policy; assign-memory-resource",
    ),
    (
        "restarts come after wall time, and are given up, unlike a kubelet's: servers start on wall time too",
        "assumed",
        "the simulator's own",
        (
            "time:_FIND_S",
            "time:_CALM_FIND_S",
            "time:_CALM_LOOK_S",
            "time:_FIRST_PAUSE_S",
            "time:_LONGEST_PAUSE_S",
            "time:_STEADY_S",
        ),
    ),
    ("a server whose files do not come is like one that crashes", "assumed", ""),
    (
        "requests are let in by either key of the endpoint, as a bearer token",
        "doc",
        "learn: machine-learning/how-to-authenticate-online-endpoint",
    ),
    (
        "an endpoint without keys takes tokens for https://ml.azure.com",
        "doc",
        "learn: machine-learning/how-to-authenticate-online-endpoint",
    ),
    ("the body of a refusal has an error with code and message", "assumed", ""),
    ("requests are spread over the deployments by weight", "doc", _ROLLOUT),
    ("azureml-model-deployment names a deployment, whatever its weight", "doc", _ROLLOUT),
    ("answers name the deployment they are from", "recorded", "public logs of az ml online-endpoint invoke"),
    ("without a valid deployment of positive weight the answer is 404", "doc", _STATUS),
    (
        "a managed endpoint makes 424 of what is not 200, with the model's own status in a header",
        "doc",
        _STATUS,
    ),
    (
        "a managed endpoint answers 408 to a request that takes longer than its deployment allows",
        "doc",
        _STATUS,
    ),
    (
        "a managed endpoint holds 2 x max_concurrent x instances requests and answers 429 to others",
        "doc",
        _STATUS,
    ),
    ("a Kubernetes endpoint answers 502 when run() fails or its server breaks down", "doc", _STATUS),
    ("a Kubernetes endpoint answers 504 to a request that takes too long, 5 s by default", "doc", _STATUS),
    ("a Kubernetes endpoint answers 503 when no replica is free in time", "doc", _STATUS),
    (
        "azureml-fe holds requests until a replica is free, for max_queue_wait_ms",
        "doc",
        "learn: machine-learning/how-to-kubernetes-inference-routing-azureml-fe, reference-yaml-deployment",
    ),
    ("a Kubernetes endpoint hands a model's own refusals (4xx) on as they are", "assumed", ""),
    ("a request may have 10 MB, of a Kubernetes endpoint 100 MB", "assumed", ""),
    ("a request is under way where it was sent, whatever the weights become", "doc", _ROLLOUT),
    (
        "a deployment that is deleted may finish its requests, and its servers what they do at their end",
        "doc",
        "kubernetes.io: concepts/workloads/pods/pod-lifecycle, termination of pods",
        ("time:_GRACE_S",),
    ),
    (
        "endpoints have requests a minute by deployment, statusCode, statusCodeClass and modelStatusCode",
        "doc",
        _METRICS,
    ),
    ("endpoints have percentiles of latency by deployment, in milliseconds", "doc", _METRICS),
    (
        "metrics have one value a minute, their only aggregation is Average",
        "doc",
        _METRICS,
        ("time:MINUTE_S",),
    ),
    ("a latency is measured in wall time, whatever the virtual clock does", "assumed", "the simulator's own"),
    (
        "metrics lag by a minute or two, and the newest minute may be incomplete",
        "recorded",
        "Azure/azure-libraries-for-net issue 499",
        ("time:INGESTION_LAG_S",),
    ),
    ("a series has the dimensions of the filter, in lower case", "doc", f"{_MONITOR}: GetMetric"),
    ("a minute without data has a time stamp and no value", "recorded", "grafana/grafana issue 28001"),
    ("a filter's `or` stands between values of one dimension", "doc", _MONITOR),
    ("with a filter at most 10 series are told, or `top`", "doc", _MONITOR),
    (
        "a metric that is not there is refused with those there are, outside ARM's envelope",
        "recorded",
        "Azure/azure-sdk-for-net issue 29584, grafana/agent issue 6637",
    ),
    ("requests that got to no deployment are in no metric", "assumed", ""),
    (
        "behind a 424 modelStatusCode is the model's own status, as in the answer's header",
        "doc",
        f"{_STATUS}: `Model Status Code` dimension of `Requests Per Minute`",
    ),
    ("modelStatusCode is 0 where the model was not asked or did not answer in time", "assumed", ""),
)
