"""Behaviours of Azure Resource Manager itself: form of requests and answers, long operations, limits, identity, bill."""

from __future__ import annotations

Row = tuple[str, str, str] | tuple[str, str, str, tuple[str, ...]]

_RPC = "Azure/azure-resource-manager-rpc v1.0/"
_LIMITS = "learn: azure-resource-manager/management/request-limits-and-throttling"
_ERRORS = "learn: azure-resource-manager/troubleshooting/common-deployment-errors"
_MEASURED = "measured with azure-mgmt-compute 39.0.0, azure-core 1.41.0, azure-identity 1.27.0"

CORE: tuple[Row, ...] = (
    ("a refusal is {error: {code, message, target, details}}", "doc", f"{_RPC}common-api-details.md"),
    (
        "ids compare without case and keep the case they were created with",
        "doc",
        f"{_RPC}common-api-details.md",
    ),
    (
        "a request without api-version is refused",
        "recorded",
        "public error logs: MissingApiVersionParameter",
        ("error:MissingApiVersionParameter",),
    ),
    (
        "an api-version that is none is refused",
        "recorded",
        "public error logs: InvalidApiVersionParameter",
        ("error:InvalidApiVersionParameter",),
    ),
    (
        "an unknown api-version of a type is refused with the supported ones",
        "doc",
        f"{_ERRORS}: NoRegisteredProviderFound",
        ("error:NoRegisteredProviderFound",),
    ),
    (
        "an unknown provider or type is refused by name",
        "doc",
        f"{_ERRORS}: InvalidResourceNamespace, InvalidResourceType",
        ("error:InvalidResourceNamespace", "error:InvalidResourceType"),
    ),
    (
        "a method the path does not have is 405",
        "doc",
        "RFC 9110, 15.5.6",
        ("error:MethodNotAllowed",),
    ),
    ("a path that is none of ARM's is 404", "assumed", "", ("error:NotFound",)),
    (
        "a body that is no JSON object is refused",
        "recorded",
        "public error logs: InvalidRequestContent",
        ("error:InvalidRequestContent",),
    ),
    (
        "a member the type does not have is refused by its name",
        "recorded",
        "public error logs: 'Could not find member ... on object of type'",
        ("error:BadRequest",),
    ),
    (
        "a value that is not allowed is InvalidParameter with its target",
        "recorded",
        "public error logs: InvalidParameter",
        ("error:InvalidParameter",),
    ),
    (
        "a body of more than 4 MB is refused",
        "doc",
        "learn: azure-resource-manager/management/azure-subscription-service-limits, request size",
        ("error:RequestContentTooLarge",),
    ),
    (
        "an unknown subscription is refused",
        "recorded",
        "public error logs: SubscriptionNotFound",
        ("error:SubscriptionNotFound",),
    ),
    (
        "an unknown resource group is refused",
        "doc",
        f"{_ERRORS}: ResourceGroupNotFound",
        ("error:ResourceGroupNotFound",),
    ),
    (
        "a missing resource is 404 ResourceNotFound, a missing parent 404 ParentResourceNotFound",
        "doc",
        f"{_ERRORS}: NotFound; public error logs for the texts",
        ("error:ResourceNotFound", "error:ParentResourceNotFound"),
    ),
    ("deleting what is not there is 204", "doc", "Swagger: VirtualMachines_Delete, Disks_Delete, 204"),
    (
        "If-Match and If-None-Match that do not hold are 412",
        "doc",
        f"{_RPC}resource-api-reference.md, etags",
        ("error:PreconditionFailed",),
    ),
    (
        "a resource without a location is refused",
        "recorded",
        "public error logs: LocationRequired",
        ("error:LocationRequired",),
    ),
    (
        "a region that does not exist is refused with the ones that do",
        "doc",
        f"{_ERRORS}: LocationNotAvailableForResourceType",
        ("error:LocationNotAvailableForResourceType",),
    ),
    (
        "tags: at most 50, names of 512 and values of 256 characters, no <>%&\\?/ in names",
        "doc",
        "learn: azure-resource-manager/management/tag-resources, limitations",
        ("error:InvalidTags", "error:InvalidTagNameCharacters", "error:InvalidTagValueLength"),
    ),
    (
        "every answer has request, correlation and routing ids",
        "doc",
        f"{_RPC}common-api-details.md, response headers",
    ),
    (
        "a PUT that creates answers 201, one that changes 200, with the resource",
        "doc",
        f"{_RPC}resource-api-reference.md",
    ),
    ("a long PUT answers the resource and Azure-AsyncOperation", "sdk", _MEASURED),
    ("a long POST or DELETE answers 202, Azure-AsyncOperation and Location", "sdk", _MEASURED),
    ("an operation stays readable after it has ended", "doc", f"{_RPC}async-api-reference.md"),
    (
        "an operation that fails later says so in its own body, under 200",
        "doc",
        f"{_RPC}async-api-reference.md",
        ("step:operation.fail",),
    ),
    (
        "a newer operation on a resource preempts the older",
        "recorded",
        "public error logs: OperationPreempted",
        ("error:OperationPreempted",),
    ),
    (
        "a change while another is under way is 409 Conflict",
        "recorded",
        "public error logs: 'conflict with a concurrent request'; azure-rest-api-specs#22434",
        ("error:Conflict",),
    ),
    (
        "the poller reads retry-after-ms before Retry-After",
        "sdk",
        "azure/core/pipeline/policies/_utils.py:get_retry_after",
    ),
    (
        "lists come in pages with nextLink; $top bounds the whole list",
        "doc",
        f"{_RPC}resource-api-reference.md; learn: rest/api/resources/resources/list",
        ("error:InvalidQueryParameter",),
    ),
    (
        "resources are filtered by type, name, place or tag; a filter by tag and value leaves the tags out",
        "doc",
        "learn: rest/api/resources/resources/list, $filter",
    ),
    (
        "a filter that cannot be read is refused",
        "recorded",
        "public error logs: InvalidFilterInQueryString",
        ("error:InvalidFilterInQueryString",),
    ),
    ("sizes are filtered by location only", "doc", "skus.json 2021-07-01, $filter", ("error:InvalidFilter",)),
    (
        "subscription buckets: reads 250 + 25/s, writes and deletes 200 + 10/s, 15 times that for all principals",
        "doc",
        _LIMITS,
    ),
    (
        "an empty subscription bucket is 429 with Retry-After and what remains",
        "recorded",
        "public error logs: SubscriptionRequestsThrottled",
        ("error:SubscriptionRequestsThrottled",),
    ),
    (
        "Compute buckets: 12 updates a machine and 4 a minute, 1,500 a minute a region",
        "doc",
        "learn: virtual-machines/compute-throttling-limits",
    ),
    ("a token comes from IDENTITY_ENDPOINT as on App Service", "sdk", _MEASURED),
    (
        "a machine's token comes from 169.254.169.254, for identities it has",
        "doc",
        "learn: entra/identity/managed-identities-azure-resources/how-to-use-vm-token",
    ),
    (
        "a request without a valid token is 401 with a challenge",
        "doc",
        "learn: rest/api/azure, error codes of authentication",
        (
            "error:AuthenticationFailed",
            "error:InvalidAuthenticationToken",
            "error:InvalidAuthenticationTokenAudience",
            "error:ExpiredAuthenticationToken",
        ),
    ),
    (
        "an identity without a role is 403 AuthorizationFailed with action and scope",
        "recorded",
        "public error logs: AuthorizationFailed",
        ("error:AuthorizationFailed",),
    ),
    (
        "tokens live a day",
        "doc",
        "learn: managed-identities-azure-resources, token lifetime 24 h",
        ("time:LIFETIME_S",),
    ),
    ("roles: the app may do all, a machine nothing on ARM", "assumed", ""),
    ("blobs, queues and tables are Azurite's, with the real account host names", "sdk", _MEASURED),
    (
        "hosts that are not simulated are refused and logged",
        "sdk",
        f"{_MEASURED}; config.mlflow-telemetry.io was asked for",
    ),
    (
        "prices of machines are the retail list's",
        "doc",
        "Azure Retail Prices API of 2026-08-22 and 2026-05-20",
    ),
    (
        "prices of disks are East US list prices of 2024, the same in every region",
        "assumed",
        "figures as in public price tables",
    ),
    (
        "a public address costs 0.005 USD an hour, attached or not",
        "doc",
        "azure.microsoft.com/pricing/details/ip-addresses; figure: c3x.dev azurerm_public_ip",
    ),
    (
        "a disk is billed as its tier, rounded up, also while its machine is off",
        "doc",
        "learn: virtual-machines/disks-understand-billing",
    ),
    (
        "machines are billed to the second",
        "doc",
        "azure.microsoft.com/pricing/details/virtual-machines, FAQ: per-second billing",
    ),
    (
        "GPU families start with no quota",
        "recorded",
        "public quota tickets: 'Fresh subscriptions have a GPU quota of 0'",
    ),
    ("quota of a family is 20 to 64 cores, of a region 100", "assumed", ""),
    (
        "family names of skus and usages are ARM's",
        "recorded",
        "public listings of az vm list-skus and list-usage",
    ),
    (
        "what is not simulated is refused as such",
        "assumed",
        "no such error in Azure: it marks the simulator's border",
        ("error:NotImplementedBySimulator",),
    ),
    (
        "a request or an answer outside the specification is refused",
        "doc",
        "Azure/azure-rest-api-specs and Azure/bicep-types-az; the code is the simulator's own",
        ("error:ContractViolation",),
    ),
    (
        "a defect of the simulator is a 500",
        "doc",
        f"{_RPC}common-api-details.md, 5xx",
        ("error:InternalServerError",),
    ),
    (
        "deleting a resource group deletes all in it, and nothing is created in it meanwhile",
        "doc",
        "learn: azure-resource-manager/management/delete-resource-group",
        ("step:group.deleted", "step:vm.erased", "error:ResourceGroupBeingDeleted"),
    ),
)
