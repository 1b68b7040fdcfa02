"""Who the app is to Azure: one credential for the whole process.

A managed identity's token is cached inside its credential; a credential per call would ask the identity endpoint
each time, and that endpoint throttles.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from shared.config import settings


@cache
def credential() -> Any:
    """The app's identity: its managed identity on Azure, the developer's own sign-in on a laptop.

    Retries are off as everywhere: the durable retry policy has them, and does not sleep inside an activity.
    """
    if os.environ.get("IDENTITY_ENDPOINT"):  # set by App Service and Functions
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=settings().client_id, retry_total=0)
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=settings().client_id, retry_total=0)
