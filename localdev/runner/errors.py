"""What can be wrong with an app before a single function runs."""

from __future__ import annotations


class AppError(Exception):
    """The app cannot be started here, and would not start on Azure either; the message says why and where."""
