"""Behaviours of Microsoft.MachineLearningServices: the workspace, its assets, schedules and run history."""

from __future__ import annotations

Row = tuple[str, str, str] | tuple[str, str, str, tuple[str, ...]]

_MFE = "azure-rest-api-specs machinelearningservices mfe.json"
_HISTORY = "azure-rest-api-specs machinelearningservices data-plane 2019-09-30 runHistory.json"
_SDK = "measured with azure-ai-ml 1.35.2"

ML: tuple[Row, ...] = (
    (
        "what is in a workspace is in no list of Azure Resource Manager's resources",
        "doc",
        f"{_MFE}: assets, datastores, computes and jobs are proxy resources",
    ),
    (
        "a workspace says where its region's services are, in discoveryUrl",
        "doc",
        "azure-rest-api-specs machinelearningservices workspaceRP.json",
    ),
    ("discovery is answered without a token, with one URL a service", "sdk", f"{_SDK}: _job_operations.py"),
    (
        "a workspace comes with a default datastore and one for artifacts, both with the account's key",
        "doc",
        "learn: azure/machine-learning/concept-data, datastores",
    ),
    (
        "listSecrets answers the account's key even when one that expires is asked for",
        "sdk",
        f"{_SDK}: list_logs_in_datastore signs with what it was given, which works with a key only",
    ),
    ("datastores are found by isDefault, names and searchText", "doc", f"{_MFE}: Datastores_List"),
    (
        "a deletion of a datastore, asset or schedule that is not there is 204",
        "doc",
        f"{_MFE}: responses of the delete operations",
    ),
    (
        "the workspace's own services refuse with the code UserError",
        "recorded",
        "azure-cli-extensions issue 5440, azure-docs issue 122250, mlops-v2 issue 76",
        ("error:UserError",),
    ),
    (
        "what is not there is 'The specified resource was not found.' with the kind in the details",
        "recorded",
        "Azure/mlops-v2 issue 76: ModelNotFound, 'Model container with name: ... not found.'",
    ),
    ("the details of a missing version, datastore or schedule are worded alike", "assumed", ""),
    (
        "an asset's container appears with its first version and knows the latest and the next one",
        "doc",
        f"{_MFE}: AssetContainer",
    ),
    ("a container counts as changed when a version is added", "assumed", ""),
    ("the next version is one above the highest number", "sdk", f"{_SDK}: _get_next_version_from_container"),
    (
        "versions are listed newest first, or as $orderBy says, at most $top of them",
        "doc",
        f"{_MFE}: ModelVersions_List, CodeVersions_List",
    ),
    ("a page of a list has 30 items", "assumed", "30 is the SDK's own `count` for datastores"),
    ("the next page is named by $skip in nextLink", "doc", f"{_MFE}: PaginationParameter"),
    ("archived assets are out of sight unless asked for", "doc", f"{_MFE}: ListViewType"),
    (
        "a version is archived and restored by a PUT of what was read with isArchived changed",
        "sdk",
        f"{_SDK}: _archive_or_restore",
    ),
    (
        "members that may only be created cannot change in a version",
        "doc",
        f"{_MFE}: x-ms-mutability of the versions",
    ),
    (
        "a changed environment is refused as registered already",
        "recorded",
        "azure-cli-extensions issue 5440: 'is already registered and cannot be changed'",
    ),
    (
        "a changed environment is a 409, upon which the SDK takes the next version",
        "sdk",
        f"{_SDK}: _try_update_latest_version",
    ),
    (
        "a changed data version is refused with what may be updated",
        "recorded",
        "public error logs: 'A data version with this name and version already exists.'",
    ),
    (
        "a changed path of a model or of code is refused",
        "sdk",
        f"{_SDK}: ASSET_PATH_ERROR, 'Asset paths cannot be updated.'",
    ),
    ("a change of a model, data or code version is a 409 like that of an environment", "assumed", ""),
    (
        "tags and properties are text, whatever was sent",
        "recorded",
        "azure-cli-extensions issue 6662: hash_version",
    ),
    ("tags of a new PUT take the place of the old ones", "recorded", "MicrosoftDocs/azure-docs issue 122250"),
    (
        "a model without blobs at its path is refused",
        "recorded",
        "MicrosoftDocs/azure-docs issue 103778: ModelAssetPathNotFoundInStorage",
    ),
    ("a model answers flavors, though they are optional", "sdk", f"{_SDK}: Model._from_rest_object"),
    (
        "code is found by its content under any name",
        "sdk",
        f"{_SDK}: CodeOperations lists by hash under a fresh name and reuses the name it finds",
    ),
    (
        "every pending upload has a container of its own, named after the workspace, and a signature for it",
        "recorded",
        "azure-cli-extensions issue 6662: codeUri; azure-ai-ml: get_storage_info_for_non_registry_asset",
    ),
    ("a pending upload's signature lives for a day", "assumed", ""),
    (
        "schedules are written and deleted by long operations",
        "doc",
        f"{_MFE}: Schedules_CreateOrUpdate, Schedules_Delete",
        ("step:ml.schedule.written", "step:ml.schedule.deleted"),
    ),
    (
        "a schedule takes seconds to write and to delete",
        "assumed",
        "",
        ("time:SCHEDULE_WRITE_S", "time:SCHEDULE_DELETE_S"),
    ),
    (
        "a schedule's operation asks to be polled every 5 s",
        "sdk",
        f"{_SDK}: LROConfigurations.SLEEP_TIME",
        ("time:SCHEDULE_POLL_S",),
    ),
    (
        "a schedule must be disabled before it is deleted",
        "doc",
        "learn: azure/machine-learning/how-to-schedule-pipeline-job, delete a schedule",
    ),
    ("disabled schedules are out of sight unless asked for", "doc", f"{_MFE}: ScheduleListViewType"),
    (
        "enum values of a monitor are read in any case and answered in the service's own",
        "sdk",
        f"{_SDK}: day, classification, jensenShannonDistance, against the values of {_MFE}",
    ),
    ("a run is a job, seen from run history", "doc", f"{_HISTORY}: Run, RunDetails"),
    (
        "run history's refusals say where and when besides the error",
        "doc",
        f"{_HISTORY}: ErrorResponse",
    ),
    (
        "archiving a job hides its run, and the job then says isArchived",
        "sdk",
        f"{_SDK}: comment in _archive_or_restore, 'the same server-side field'",
    ),
    (
        "run history takes tokens for ml.azure.com as well as for Azure Resource Manager",
        "sdk",
        f"{_SDK}: RunHistoryClient's credential_scopes",
    ),
    (
        "named outputs of a run are found by looking where jobs write them",
        "sdk",
        f"{_SDK}: _get_named_output_uri searches azureml/JOB/NAME/ of the default datastore",
    ),
)
