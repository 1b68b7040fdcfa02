"""A local Azure Functions host for durable apps: it loads any decorator-model function_app.py as it is.

Functions are indexed and invoked through `azure-functions-runtime`, the worker library that Azure itself runs for
Python 3.13, so that what Azure refuses is refused here. See `Runner` (in process) and `python -m localdev.runner`.
"""

from localdev.runner.errors import AppError
from localdev.runner.host import Runner

__all__ = ["AppError", "Runner"]
