"""Behaviours of Microsoft.MachineLearningServices: computes and their nodes, quotas, jobs and what runs in them."""

from __future__ import annotations

Row = tuple[str, str, str] | tuple[str, str, str, tuple[str, ...]]

_RP = "azure-rest-api-specs machinelearningservices machineLearningServices.json 2023-08-01-preview"
_MFE = "azure-rest-api-specs machinelearningservices mfe.json 2024-01-01-preview"
_SDK = "measured with azure-ai-ml 1.35.2"
_CLUSTER = "learn: azure/machine-learning/how-to-create-attach-compute-cluster"
_QUOTA = "learn: azure/machine-learning/how-to-manage-quotas"
_DATA = "learn: azure/machine-learning/how-to-read-write-data-v2"
_TUNE = "learn: azure/machine-learning/how-to-tune-hyperparameters"

ML_JOBS: tuple[Row, ...] = (
    (
        "a compute is written and deleted by long operations; underlyingResourceAction is needed to delete",
        "doc",
        f"{_RP}: Compute_CreateOrUpdate, Compute_Delete",
        ("step:compute.provisioned", "step:compute.deleted"),
    ),
    (
        "how long computes take to be made, changed, deleted, started and stopped",
        "assumed",
        "of the order of what the studio shows",
        (
            "time:_CREATE_S",
            "time:_UPDATE_S",
            "time:INSTANCE_CREATED_S",
            "time:INSTANCE_STARTED_S",
            "time:INSTANCE_STOPPED_S",
        ),
    ),
    ("sizes are answered in capitals, whatever was sent", "doc", f"{_RP}: examples, STANDARD_NC6"),
    (
        "a name starts with a letter, has 2 to 24 characters, and a letter somewhere after each dash",
        "doc",
        "learn: azure/machine-learning/how-to-create-compute-instance; azure-cli: az ml compute",
    ),
    ("the identity type Userassigned is taken", "sdk", f"{_SDK}: IdentityConfiguration.type"),
    (
        "a cluster that quota can never hold one node of, or its least nodes, is made and Failed",
        "recorded",
        "public error logs: ClusterMinNodesExceedCoreQuota, 'cannot accomodate for at least 1 requested managed "
        "compute node'; InnerEye-DeepLearning#253",
        ("error:ClusterMinNodesExceedCoreQuota",),
    ),
    (
        "quotas of Azure ML are apart from those of machines: by family, dedicated in total, low priority in total",
        "doc",
        _QUOTA,
    ),
    ("usages and sizes of a region", "doc", f"{_RP}: examples Usage/list, VirtualMachineSize/list"),
    (
        "a resize that finds no cores left says ClusterCoreQuotaReached, and jobs wait",
        "recorded",
        "public error logs: 'left our own job stuck at ClusterCoreQuotaReached'; the text is ours",
    ),
    (
        "a cluster grows while jobs are queued, up to its maximum, and shrinks after the idle time, down to its minimum",
        "doc",
        f"{_CLUSTER}: 'autoscales'; nodeIdleTimeBeforeScaleDown",
        (
            "step:cluster.enqueue",
            "step:cluster.dequeue",
            "step:cluster.release",
            "step:cluster.balance",
            "step:node.ready",
            "step:node.idle",
            "step:node.gone",
        ),
    ),
    (
        "without an idle time nodes go after 120 s",
        "doc",
        f"{_CLUSTER}: idle_time_before_scale_down",
        ("time:_IDLE_S",),
    ),
    (
        "how long nodes take to come and to go, and when a failed resize is tried again",
        "assumed",
        "of the order of what the studio shows",
        ("time:NODE_READY_S", "time:NODE_GONE_S", "time:RESIZE_RETRY_S"),
    ),
    (
        "a node costs from its allocation until it is gone, what its size costs as a machine",
        "doc",
        "learn: azure/machine-learning/concept-plan-manage-cost",
    ),
    (
        "a preempted job goes back to the queue and begins anew",
        "doc",
        f"{_CLUSTER}: 'Azure Machine Learning ... resubmits' under low priority; how-to-use-low-priority-batch",
        ("step:cluster.preempt", "step:job.node_lost"),
    ),
    (
        "a preempted node is shown as such for a minute and costs nothing",
        "assumed",
        f"{_RP}: NodeStateCounts has preemptedNodeCount",
        ("time:PREEMPTED_S", "step:node.lost"),
    ),
    (
        "an unusable node still costs; it goes after the idle time",
        "recorded",
        "microsoftarchive/BatchAI issue 19",
    ),
    (
        "a cluster that is deleted fails the jobs on it; a job whose dedicated node is lost fails",
        "assumed",
        "",
        ("step:jobs.abandon",),
    ),
    (
        "an instance is started, stopped and restarted, and costs while it is not Stopped",
        "doc",
        f"{_RP}: Compute_Start, Compute_Stop, Compute_Restart; how-to-manage-compute-instance",
        ("step:instance.settled",),
    ),
    (
        "only a Kubernetes cluster is detached, the others are deleted",
        "doc",
        f"{_RP}: underlyingResourceAction",
    ),
    (
        "a job is NotStarted, Queued, Preparing, Running, Finalizing, then Completed, Failed or Canceled",
        "doc",
        f"{_MFE}: JobStatus",
        ("step:job.queue", "step:job.placed", "step:job.start", "step:job.over"),
    ),
    (
        "how long a job takes to be queued, prepared, finalized and cancelled",
        "assumed",
        "of the order of a small job's whose image is cached",
        (
            "time:QUEUED_S",
            "time:PREPARED_S",
            "time:FINALIZED_S",
            "time:CANCELED_S",
            "time:_CANCEL_S",
            "time:_MIRROR_S",
            "time:FAIR_WALL_S",
        ),
    ),
    (
        "a run of which nothing is heard is NotResponding, until something is heard again",
        "doc",
        f"{_MFE}: JobStatus, NotResponding",
        ("step:job.silent", "step:job.heard_again"),
    ),
    (
        "a job is cancelled when limits.timeout has passed",
        "doc",
        f"{_MFE}: JobLimits, 'after which the job will be cancelled'",
        ("step:job.timeout", "step:job.parent_timeout"),
    ),
    (
        "cancel answers 202 with a Location only, and ends CancelRequested, Canceled",
        "doc",
        f"{_MFE}: Jobs_Cancel",
        ("step:job.cancel_over", "step:job.canceled"),
    ),
    ("a job that is over can be deleted, another cannot", "assumed", "", ("step:job.deleted",)),
    (
        "of a job that was put before only labels change; what it runs cannot",
        "doc",
        f"{_MFE}: x-ms-mutability of JobBase and CommandJob",
    ),
    (
        "a job answers services Tracking and Studio and outputs.default",
        "sdk",
        f"{_SDK}: Job._from_rest_object",
    ),
    (
        "a failed command's error says 'Execution failed. User process ... exited with status code'",
        "recorded",
        "public error logs",
    ),
    (
        "logs and ./outputs are kept in the artifact store below ExperimentRun/dcid.{run}",
        "recorded",
        "public error logs and azure-ai-ml: _artifact_utilities",
    ),
    ("${{inputs.x}}, ${{outputs.x}} and $[[optional parts]] of a command", "doc", _DATA),
    (
        "inputs are downloaded, outputs uploaded while the job runs, what a mount held is there again",
        "doc",
        _DATA,
    ),
    (
        "programs on a node get tokens of the cluster's identity by MSI_ENDPOINT and MSI_SECRET",
        "sdk",
        "azure-identity: AzureMLCredential; learn: how-to-identity-based-service-authentication",
    ),
    (
        "a sweep tries the points of its space, so many at a time, and names the best trial",
        "doc",
        f"{_TUNE}; {_MFE}: SweepJob",
        ("step:job.parent_start", "step:job.child_moved"),
    ),
    (
        "a run reports its metrics to MLflow's REST API, with what its environment says and a token of its own",
        "doc",
        "mlflow.org REST API: runs/log-metric, runs/log-batch, runs/get, metrics/get-history",
        ("error:INVALID_PARAMETER_VALUE",),
    ),
    (
        "such a token is good for its own run and while that runs",
        "assumed",
        "here it is a random text, where Azure ML has a JSON Web Token",
    ),
    (
        "bandit, median stopping and truncation selection end trials early, by the metrics reported so far",
        "doc",
        f"{_TUNE}: early termination",
    ),
    (
        "Bayesian sampling draws near the best points so far",
        "assumed",
        "Azure ML does not say how it samples",
    ),
    ("numbers in outputs/metrics.json and `metric:` lines of a trial's log count too", "assumed", ""),
    ("a sweep fails if none of its trials completed", "assumed", ""),
    (
        "a step begins when those whose outputs it reads have completed",
        "doc",
        "learn: azure/machine-learning/how-to-create-component-pipelines-cli",
    ),
    (
        "a failed step ends the pipeline unless continue_on_step_failure is set",
        "sdk",
        "azure-ai-ml 1.35.2: PipelineJobSettings",
    ),
    (
        "every change of a run's state is told, and its completion",
        "doc",
        "azure-rest-api-specs eventgrid Microsoft.MachineLearningServices 2018-01-01: RunStatusChanged, RunCompleted",
    ),
)
