"""Behaviours of Azure Machine Learning's online endpoints, their deployments, and the clusters they are on."""

from __future__ import annotations

Row = tuple[str, str, str] | tuple[str, str, str, tuple[str, ...]]

_MFE = "azure-rest-api-specs machinelearningservices mfe.json"
_SDK = "measured with azure-ai-ml 1.35.2"
_GUIDE = "learn: azure/machine-learning/how-to-troubleshoot-online-endpoints"
_CLUSTER = "learn: azure/machine-learning/how-to-troubleshoot-kubernetes-compute"

ENDPOINTS: tuple[Row, ...] = (
    (
        "endpoints and deployments are written and deleted by long operations",
        "doc",
        f"{_MFE}: OnlineEndpoints_CreateOrUpdate, OnlineDeployments_CreateOrUpdate and their deletions",
        (
            "step:endpoint.written",
            "step:endpoint.deleted",
            "step:deployment.started",
            "step:deployment.deleted",
        ),
    ),
    (
        "the operations of endpoints are at mfeOperationsStatus, and the last one's URL is in their properties",
        "recorded",
        "azure-sdk-for-python issue 27624, azureml-examples issue 1891: AzureAsyncOperationUri",
    ),
    (
        "an endpoint is made in about a minute and a half",
        "recorded",
        "azureml-examples issue 1891: '1 min 33 sec'",
        ("time:ENDPOINT_CREATED_S",),
    ),
    (
        "the other durations of endpoints and deployments are of the order of small ones",
        "assumed",
        "",
        (
            "time:K8S_ENDPOINT_CREATED_S",
            "time:ENDPOINT_DELETED_S",
            "time:TRAFFIC_S",
            "time:KEYS_S",
            "time:MANAGED_INSTANCE_S",
            "time:POD_S",
            "time:START_S",
            "time:DEPLOYMENT_DELETED_S",
            "time:SCALED_S",
            "time:IMAGE_BUILT_S",
        ),
    ),
    (
        "an endpoint takes one write at a time; the next is refused as a conflict",
        "recorded",
        "azure-cli issue 17075: 'Conflict of operation, another operation on same entity is already running'",
    ),
    (
        "no deployment is made in an endpoint that is not Succeeded",
        "recorded",
        "azure-sdk-for-net issue 36961: 'Cannot create a deployment in endpoint ... because it is in Updating "
        "provisioning state'",
    ),
    (
        "an endpoint that reads Succeeded may refuse writes, and show what was before, for some seconds",
        "recorded",
        "azure-sdk-for-net issue 36961: refused after the state was read as Succeeded",
        ("step:endpoint.settled", "time:SETTLED_S"),
    ),
    (
        "a request that is the same as the one under way is canceled if it comes within a minute",
        "doc",
        f"{_GUIDE}#error-operationcanceled",
        ("error:OperationCanceled", "time:LOCK_S"),
    ),
    (
        "a PUT of an endpoint without traffic takes all traffic away",
        "recorded",
        "genaiops-promptflow-template issue 182",
    ),
    (
        "traffic sums to 0 or 100, over deployments that are there and ready",
        "doc",
        "learn: azure/machine-learning/concept-endpoints-online; reference-yaml-endpoint-online (traffic)",
    ),
    (
        "names of deployments in traffic are read without case",
        "sdk",
        f"{_SDK}: _strip_zeroes_from_traffic writes them in lower case",
    ),
    (
        "a deployment with traffic is not deleted",
        "doc",
        "learn: azure/machine-learning/how-to-safely-rollout-online-endpoints, delete the old deployment",
    ),
    (
        "with an endpoint go all its deployments",
        "doc",
        "learn: azure/machine-learning/how-to-deploy-online-endpoints, delete the endpoint and the deployment",
    ),
    (
        "names of endpoints and deployments have 3 to 32 letters, digits and '-'",
        "sdk",
        f"{_SDK}: validate_endpoint_or_deployment_name",
    ),
    (
        "an endpoint has an identity of its own unless it is given one",
        "sdk",
        f"{_SDK}: _to_rest_online_endpoint asks for SystemAssigned",
    ),
    (
        "keys are two, listed and set anew one at a time; other modes have none",
        "doc",
        f"{_MFE}: OnlineEndpoints_ListKeys, OnlineEndpoints_RegenerateKeys",
        ("step:endpoint.keys",),
    ),
    (
        "a key that is set to what it is becomes another one",
        "sdk",
        f"{_SDK}: _regenerate_online_keys sends the present key",
    ),
    (
        "a token of an endpoint says when it ends and when to ask for the next",
        "doc",
        f"{_MFE}: EndpointAuthToken",
        ("time:TOKEN_LIFETIME_S", "time:TOKEN_REFRESH_S"),
    ),
    (
        "the scoring address of a managed endpoint is its name's host in the region",
        "recorded",
        "azureml-examples issue 1891: https://NAME.eastus2.inference.ml.azure.com/score",
    ),
    ("the endpoints of a cluster are reached at the same hosts as managed ones", "assumed", ""),
    (
        "the operations of endpoints ask to be polled every 5 s",
        "sdk",
        f"{_SDK}: LROConfigurations.POLL_INTERVAL",
        ("time:POLL_S",),
    ),
    (
        "an image with dependencies is built when its environment is first used, and kept",
        "doc",
        "learn: azure/machine-learning/concept-environments, environment building, caching, and reuse",
        ("step:deployment.image", "step:deployment.place"),
    ),
    (
        "model, code and environment of a deployment must be there",
        "doc",
        f"{_GUIDE}#error-badargument (unable to download user model)",
    ),
    ("scale settings are always shown", "sdk", f"{_SDK}: listing deployments fails without"),
    ("what a pod needs is always shown", "sdk", f"{_SDK}: ResourceRequirementsSettings._from_rest_object"),
    (
        "a deployment is ready when its server answers, and its readiness probe says how long that may take",
        "doc",
        f"{_MFE}: ProbeSettings; {_GUIDE}#error-resourcenotready",
    ),
    (
        "a container that crashes is started again before the deployment is given up",
        "doc",
        "kubernetes.io: pod lifecycle, container restarts (CrashLoopBackOff)",
        ("step:deployment.fail", "time:BACKOFF_S"),
    ),
    (
        "what becomes of a crashed container says the code of its cluster or of managed endpoints",
        "doc",
        f"{_GUIDE}: UserScriptImportError, UserScriptInitFailed, DeploymentCrashLoopBackOff, PodOutOfMemory",
    ),
    (
        "a managed container without enough memory is out of quota",
        "recorded",
        "public error logs: 'OutOfQuota: Container terminated due to insufficient memory.'",
    ),
    (
        "the logs of a managed deployment begin with the state of its instance",
        "recorded",
        "mslearn-azure-ml issue 100",
    ),
    (
        "a deployment that fails stays, with its instances, until it is deleted",
        "doc",
        "learn: azure/machine-learning/concept-endpoints-online (charged until deleted)",
    ),
    (
        "managed instances count against the cores of Azure ML, with a fifth more for upgrades",
        "doc",
        "learn: azure/machine-learning/how-to-manage-quotas, virtual machine quota allocation for deployment",
        ("error:OutOfQuota",),
    ),
    (
        "managed instances cost what their machines cost, pods on a cluster nothing",
        "doc",
        "learn: azure/machine-learning/concept-endpoints-online, managed against Kubernetes online endpoints",
    ),
    (
        "pods that fit on no node wait for one, and then are out of quota",
        "doc",
        f"{_GUIDE}#kubernetes-quota ('Kubernetes unschedulable. Details:0/1 nodes are available')",
        ("time:UNSCHEDULABLE_S", "time:RESCHEDULE_S"),
    ),
    (
        "what a pod asks for is not above its limits",
        "doc",
        f"{_GUIDE}#resource-requests-greater-than-limits",
    ),
    (
        "an attached cluster brings its instance types, of which one is there from the start",
        "doc",
        "learn: azure/machine-learning/how-to-manage-kubernetes-instance-types",
    ),
    (
        "the cluster of an attached compute cannot be exchanged, nor its namespace",
        "doc",
        f"{_CLUSTER}: Kubernetes compute update does not take effect",
    ),
    (
        "a cluster that is gone, out of reach or without the extension says so",
        "doc",
        f"{_CLUSTER}: compute scope and cluster scope",
        (
            "error:ClusterNotFound",
            "error:ClusterNotReachable",
            "error:ClusterServiceNotFound",
            "error:ComputeNotFound",
        ),
    ),
    (
        "a deployment that got ready is told by ModelDeployed",
        "doc",
        "azure-rest-api-specs eventgrid Microsoft.MachineLearningServices: ModelDeployedEventData",
    ),
    (
        "others may delete an endpoint or a deployment under our eyes",
        "doc",
        f"{_MFE}: OnlineEndpoints_Delete asks for no If-Match",
        ("step:endpoint.vanish", "step:deployment.vanish"),
    ),
    (
        "what was deployed is served again after a restart of the simulator",
        "assumed",
        "",
        ("step:endpoints.restore",),
    ),
)
