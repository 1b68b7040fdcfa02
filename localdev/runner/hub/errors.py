"""What a task hub refuses, and why.

HubError
  HubUnavailable        the file cannot be used; nothing in it was changed
    HubLocked             another process holds it: names pid, host, command and since when
    HubTooNew             written by a later version of this program
    HubDamaged            not a hub, truncated or corrupt
  HubFull               the disk (or a quota) is full: the change was rolled back, the caller may repeat it
  HubClosed             the hub was closed in this process
  InvalidMessage        a message that means nothing here
  InstanceNotFound      InstanceExists      InstanceState (it is finished, or not finished, or not failed)
"""

from __future__ import annotations


class HubError(Exception):
    """Base of all refusals of a task hub."""


class HubUnavailable(HubError):
    """The hub file cannot be used. Nothing in it was changed."""


class HubLocked(HubUnavailable):
    """Another process has the file open."""


class HubTooNew(HubUnavailable):
    """The file's schema is newer than this program."""


class HubDamaged(HubUnavailable):
    """The file is not a task hub, is truncated, or is corrupt."""


class HubFull(HubError):
    """No space is left. The transaction was rolled back; the same call may be repeated later."""


class HubClosed(HubError):
    """The hub (or the session) was closed."""


class InvalidMessage(HubError):
    """A message whose content means nothing to the hub."""


class InstanceNotFound(HubError):
    """No instance of that id."""


class InstanceExists(HubError):
    """The id is taken by an instance that may not be replaced."""


class InstanceState(HubError):
    """The instance is in a state in which the request makes no sense."""
