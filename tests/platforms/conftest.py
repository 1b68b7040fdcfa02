from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.domain.lease import Lease
from tests.platforms.machines import DSVM
from tests.support.cloud import Cloud


@pytest.fixture
def lease(cloud: Cloud) -> Iterator[Lease]:
    """Of a dsvm, in the modules that have none of their own. Whatever the test did, it can be released."""
    lease = cloud.lease(DSVM)
    yield lease
    cloud.control.clear_faults()
    cloud.gone(DSVM, lease)
    assert cloud.resources(lease) == [] and cloud.billing(lease) == []
