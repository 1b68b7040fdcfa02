"""Behaviours of Microsoft.Compute, Microsoft.Network and Microsoft.DevTestLab, and of the machines themselves."""

from __future__ import annotations

from localdev.azuresim.behaviours_core import Row

_STATES = "learn: virtual-machines/states-billing"
_SPOT = "learn: virtual-machines/spot-vms"
_RUN = "learn: virtual-machines/linux/run-command-managed"
_ACTION = "learn: virtual-machines/linux/run-command"
_AGENT = "Azure/run-command-handler-linux internal/exec/exec.go, internal/cmds/cmds.go, commandProcessor.go"
_DELETE = "learn: virtual-machines/delete"
_QUOTA = "learn: virtual-machines/quotas"
_SWAGGER = "azure-rest-api-specs: virtualMachine.json 2024-07-01 and its examples"

COMPUTE: tuple[Row, ...] = (
    ("a machine is Creating, then Succeeded; its power state comes from the instance view", "doc", _STATES),
    ("power states: starting, running, stopping, stopped, deallocating, deallocated", "doc", _STATES),
    (
        "the bill runs from starting until deallocated or gone; stopped costs what running costs",
        "doc",
        _STATES,
        ("step:vm.allocated", "step:vm.stopped"),
    ),
    (
        "how long each step of a machine's life takes",
        "assumed",
        "of the order of a small Linux machine's",
        (
            "step:vm.running",
            "step:vm.provisioned",
            "step:vm.agent",
            "time:ALLOCATED_S",
            "time:RUNNING_S",
            "time:PROVISIONED_S",
            "time:AGENT_READY_S",
            "time:START_ALLOCATED_S",
            "time:START_RUNNING_S",
            "time:STARTED_S",
            "time:START_AGENT_READY_S",
            "time:STOPPED_S",
            "time:DEALLOCATED_S",
            "time:DELETED_S",
            "time:FORCE_DELETED_S",
            "time:RESTARTED_S",
            "time:UPDATED_S",
        ),
    ),
    (
        "a machine whose system does not report in 20 minutes is OSProvisioningTimedOut, and stays",
        "doc",
        "learn: troubleshoot/azure/virtual-machines, OSProvisioningTimedOut",
        ("time:OS_TIMEOUT_S",),
    ),
    (
        "the machine's agent is 'Not Ready' at first",
        "doc",
        f"{_SWAGGER}: 'VM status blob is found but not yet populated.'",
    ),
    ("instance views and status codes", "doc", _SWAGGER),
    (
        "quota counts cores of running and deallocated machines, per family and per region, Spot apart",
        "doc",
        _QUOTA,
    ),
    (
        "no quota left is 409 OperationNotAllowed with limit, usage and need",
        "recorded",
        "Azure/karpenter-provider-azure test/; public error logs",
        ("error:OperationNotAllowed",),
    ),
    (
        "a size that is not sold here is 409 SkuNotAvailable",
        "recorded",
        "public error logs; Azure/karpenter-provider-azure",
        ("error:SkuNotAvailable",),
    ),
    (
        "a size that does not exist is InvalidParameter vmSize",
        "recorded",
        "public error logs: 'provided for the VM size is not valid'",
    ),
    (
        "a size that cannot be Spot is refused",
        "assumed",
        "the rule is learn: virtual-machines/spot-vms; no public sight of the code",
        ("error:VMSizeDoesNotSupportLowPriority",),
    ),
    (
        "Data Science VM images and their versions",
        "recorded",
        "public templates; learn: data-science-virtual-machine/release-notes",
    ),
    (
        "an image that does not exist is PlatformImageNotFound",
        "recorded",
        "public error logs: PlatformImageNotFound",
        ("error:PlatformImageNotFound",),
    ),
    (
        "Linux needs a key or a password, the key in the user's own file",
        "recorded",
        "public error logs; terraform-provider-azurerm",
    ),
    (
        "a machine needs a network interface that is there, near and free",
        "recorded",
        "public error logs: NicInUse, InvalidResourceReference",
        ("error:NicInUse", "error:InvalidResourceReference"),
    ),
    ("networkInterfaceConfigurations need networkApiVersion", "doc", _SWAGGER),
    (
        "an interface made with a machine carries its own tags only",
        "recorded",
        "Azure/karpenter-provider-azure PR 812",
    ),
    (
        "a disk made with a machine carries the machine's tags of that moment",
        "recorded",
        "terraform-provider-azurerm#8162, azure-sdk-for-js#17787",
    ),
    (
        "a disk name that is taken is ConflictingUserInput",
        "recorded",
        "public error logs: 'Only CreateOption.Attach is supported.'",
        ("error:ConflictingUserInput",),
    ),
    ("a data disk without a size has 32 GiB", "assumed", "", ("time:_DEFAULT_DATA_DISK_GIB",)),
    (
        "deleteOption Delete takes disks, interfaces and addresses along; Detach leaves them",
        "doc",
        _DELETE,
        ("step:vm.deleted",),
    ),
    ("force deletion is quicker", "doc", _DELETE),
    (
        "a failed creation leaves the machine as Failed with its disk and interface",
        "recorded",
        "terraform-provider-azurerm#753, #98; berops/claudie#386",
    ),
    (
        "a delete asked for again joins the one under way; after ten minutes, or forced, it begins anew",
        "assumed",
        "the refusal's own text: 'you can only retry the Delete operation'",
        ("time:_STUCK_DELETE_S",),
    ),
    (
        "a machine being deleted takes nothing but another delete",
        "recorded",
        "public error logs: 'the VM is marked for deletion'",
    ),
    (
        "unchangeable properties are PropertyChangeNotAllowed",
        "recorded",
        "public error logs; terraform-provider-azurerm",
        ("error:PropertyChangeNotAllowed",),
    ),
    (
        "an eviction gives 30 s notice as a Preempt event, then deallocates or deletes by policy",
        "doc",
        f"{_SPOT}; learn: virtual-machines/linux/scheduled-events",
        ("step:vm.evict", "step:vm.evicted", "step:vm.preempt", "time:EVICTION_NOTICE_S"),
    ),
    ("a machine may vanish without a word", "assumed", "for the fault vm-vanishes", ("step:vm.vanish",)),
    (
        "a script is a file of its own in a directory of its own, run by bash, its #! line obeyed",
        "recorded",
        _AGENT,
        ("step:run.start",),
    ),
    (
        "named parameters are environment, unnamed ones arguments; empty ones are dropped, protected ones come last",
        "doc",
        f"{_RUN}; {_AGENT}",
    ),
    ("the last 4,096 bytes of output and error are shown", "doc", f"{_RUN}; {_AGENT}"),
    ("asyncExecution succeeds when the script starts, else when it ends", "doc", f"{_RUN}; runCommand.json"),
    ("provisioningState says whether the script was run, executionState how it went", "doc", _RUN),
    (
        "a script that fails is a provisioning failure only with treatFailureAsDeploymentFailure",
        "doc",
        "runCommand.json 2024-07-01",
    ),
    (
        "a script beyond timeoutInSeconds is killed and has exit code -1",
        "recorded",
        f"{_AGENT}; exec_test.go: TestExec_failure_timeout",
        ("step:script.timeout",),
    ),
    (
        "its executionState is then TimedOut",
        "doc",
        "runCommand.json 2024-07-01, ExecutionState (the Linux handler writes Failed)",
    ),
    ("deleting a run command ends its script", "doc", _RUN, ("step:run.deleted",)),
    ("managed run commands of a machine run side by side", "doc", _RUN),
    (
        "the action runCommand runs one at a time, takes 20 s at least and 90 minutes at most",
        "doc",
        _ACTION,
        ("step:run.action_over", "time:_ACTION_S", "time:_TIMEOUT_S"),
    ),
    (
        "the agent takes seconds to start a script, and looks again every 5 s",
        "assumed",
        "",
        ("time:_START_S", "time:_AGENT_PAUSE_S", "time:_DELETE_S"),
    ),
    ("a script may leave processes running; they live until the machine stops", "recorded", _AGENT),
    ("stopping or deallocating ends processes and keeps the disk's files", "doc", _STATES),
    (
        "an identity that does not exist is FailedIdentityOperation",
        "recorded",
        "public error logs: FailedIdentityOperation",
        ("error:FailedIdentityOperation",),
    ),
    (
        "a failed script with treatFailureAsDeploymentFailure is VMExtensionProvisioningError",
        "recorded",
        "public error logs: 'VM has reported a failure when processing'",
        ("error:VMExtensionProvisioningError",),
    ),
    (
        "a run command whose machine stopped before it began has failed",
        "assumed",
        "",
        ("error:VMNotRunning",),
    ),
    (
        "scripts under way when the simulator was killed have failed",
        "assumed",
        "nothing of the kind in Azure",
        ("step:scripts.abandon",),
    ),
    ("a disk that is attached cannot be deleted", "recorded", "public error logs: 'is attached to VM'"),
    (
        "how long writes and deletes of disks and networks take, and how often to look",
        "assumed",
        "",
        (
            "step:disk.written",
            "step:disk.deleted",
            "step:*.written",
            "step:*.deleted",
            "step:subnet.written",
            "step:subnet.deleted",
            "time:_WRITE_S",
            "time:WRITE_S",
            "time:DELETE_S",
            "time:_POLL_S",
        ),
    ),
    (
        "Microsoft.Network says InvalidRequestFormat with the detail InvalidJson",
        "recorded",
        "public error logs: 'Cannot parse the request.'",
        ("error:InvalidRequestFormat",),
    ),
    (
        "a subnet with interfaces cannot be deleted",
        "doc",
        "learn: common-deployment-errors, InUseSubnetCannotBeDeleted; terraform-provider-azurerm for the text",
        ("error:InUseSubnetCannotBeDeleted",),
    ),
    (
        "a public address in use cannot be deleted",
        "recorded",
        "public error logs: PublicIPAddressCannotBeDeleted",
        ("error:PublicIPAddressCannotBeDeleted",),
    ),
    (
        "an interface needs an IP configuration",
        "assumed",
        "the rule is the service's, code and text are ours",
        ("error:NetworkInterfaceMustHaveAtLeastOneIpConfiguration",),
    ),
    (
        "subnets are shown within their network and by themselves",
        "doc",
        "azure-rest-api-specs: virtualNetwork.json 2024-03-01",
    ),
    (
        "Azure keeps the first addresses of a subnet for itself",
        "doc",
        "learn: virtual-network/virtual-networks-faq",
    ),
    (
        "an auto-shutdown schedule deallocates its machine at a time of day in its own zone",
        "doc",
        "learn: virtual-machines/auto-shutdown-vm; DTL.json 2018-09-15",
        ("step:schedule.fire", "step:vm.auto_shutdown"),
    ),
    (
        "it must be named shutdown-computevm-NAME and aim at a machine that is there",
        "recorded",
        "public templates all name it so; codes and texts of the refusals are ours",
        ("error:InvalidScheduleId", "error:InvalidScheduleTargetResource"),
    ),
)
