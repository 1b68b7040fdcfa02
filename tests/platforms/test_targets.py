"""Whether a target can take a deployment: the attached cluster on aks, size and quota on a managed endpoint."""

from __future__ import annotations

import uuid

import pytest

from localdev.azuresim import estate
from shared.azure import ml_clusters
from shared.domain.deployment import Attach
from shared.domain.serving import Resources, Target, TargetLook
from shared.platforms import platforms
from tests.support.cloud import Cloud

AKS, MANAGED = platforms()["aks"].serving, platforms()["managed_endpoint"].serving
ON_PROD = Target(platform="aks", endpoint="live", compute="aks-prod")
MANAGED_TARGET = Target(platform="managed_endpoint", endpoint="live")
GPU = {"instance_type": "gpu", "gpu": 1}


def look(**resources: object) -> TargetLook:
    return AKS.check_target(ON_PROD, Resources(**resources))  # type: ignore[arg-type]


def test_an_attached_cluster_takes_what_its_instance_types_hold(cloud: Cloud) -> None:
    assert look() == TargetLook(ready=True)
    assert look(instance_type="defaultinstancetype").ready
    assert look(**GPU).ready


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        ({"instance_type": "huge"}, "no instance type 'huge'; it has defaultinstancetype, gpu"),
        ({"gpu": 1}, "'defaultinstancetype' of compute aks-prod has 0 GPUs, not 1"),
        ({"instance_type": "gpu", "gpu": 2}, "has 1 GPUs, not 2"),
    ],
)
def test_what_the_cluster_does_not_have_is_said(
    cloud: Cloud, resources: dict[str, object], reason: str
) -> None:
    found = look(**resources)

    assert not found.ready and not found.attaching
    assert reason in found.reason


def test_a_cluster_that_is_not_attached_is_asked_for(cloud: Cloud) -> None:
    found = AKS.check_target(ON_PROD.model_copy(update={"compute": "elsewhere"}), Resources())

    assert (found.ready, found.attaching) == (False, False)
    assert "no cluster is attached as 'elsewhere'" in found.reason


def test_a_declared_cluster_is_attached_once_and_then_ready(cloud: Cloud) -> None:
    name = f"aks-a{uuid.uuid4().hex[:6]}"  # after a dash there has to be a letter somewhere
    attach = Attach(cluster_id=estate.cluster_id(), namespace="muster")
    target = ON_PROD.model_copy(update={"compute": name, "attach": attach})
    since = cloud.mark()

    first = AKS.check_target(target, Resources())
    assert first.attaching and not first.ready
    cloud.pass_time(first.poll_after_s)
    assert cloud.until(lambda: AKS.check_target(target, Resources()), lambda look: not look.attaching).ready

    puts = [e for e in cloud.control.events(since=since, type_="request") if e["method"] == "PUT"]
    assert [each["path"].rsplit("/", 1)[-1] for each in puts] == [name]
    assert ml_clusters.get_cluster(name).body["properties"]["properties"]["namespace"] == "muster"


def test_a_cluster_that_cannot_be_attached_says_why(cloud: Cloud) -> None:
    elsewhere = estate.cluster_id().replace("aks-prod", "aks-other")
    target = ON_PROD.model_copy(update={"attach": Attach(cluster_id=elsewhere)})

    found = AKS.check_target(target, Resources())

    assert not found.ready and f"not {elsewhere}" in found.reason


def test_a_compute_that_is_no_cluster_is_refused(cloud: Cloud) -> None:
    lease = cloud.lease(platforms()["amlcompute"])
    cloud.ready(platforms()["amlcompute"], lease)
    name = ml_clusters.cluster_name(lease)

    found = AKS.check_target(ON_PROD.model_copy(update={"compute": name}), Resources())

    assert not found.ready and "AmlCompute, not an attached cluster" in found.reason
    cloud.gone(platforms()["amlcompute"], lease)


@pytest.mark.parametrize(
    ("resources", "ready", "reason"),
    [
        (Resources(instance_type="Standard_F2s_v2"), True, ""),
        (
            Resources(instance_type="Standard_D2s_v5"),
            False,
            "no size for a managed endpoint in westeurope; there are",
        ),
        (Resources(instance_type="Standard_F9"), False, "is not a size with a known price"),
        (Resources(instance_type="Standard_F16s_v2", instances=20), False, "quota"),
    ],
)
def test_a_managed_endpoint_needs_a_size_and_quota(
    cloud: Cloud, resources: Resources, ready: bool, reason: str
) -> None:
    found = MANAGED.check_target(MANAGED_TARGET, resources)

    assert found.ready is ready, found
    assert reason in found.reason
