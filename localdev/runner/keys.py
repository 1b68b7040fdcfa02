"""Access keys, as a function app has them: master, host-wide function keys, keys of one function, system keys."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localdev.runner.errors import AppError
from localdev.runner.platform_auth import Principal

HEADER, QUERY = "x-functions-key", "code"
DURABLE, EVENT_GRID = "durabletask_extension", "eventgrid_extension"


@dataclass(frozen=True)
class Keys:
    """`enforced=False` lets everything through, as Core Tools does.

    `principals`: whom the platform takes the holder of a host-wide function key for, by the key's name. Given any,
    platform authentication is on.
    """

    master: str = ""
    function: Mapping[str, str] = field(default_factory=dict)  # host-wide
    functions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by function
    system: Mapping[str, str] = field(default_factory=dict)
    principals: Mapping[str, Principal] = field(default_factory=dict)
    enforced: bool = True

    @classmethod
    def none(cls) -> Keys:
        return cls(enforced=False)

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Read the keys; make the file with random keys, readable by its owner only, when it is not there."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls._read(path)
        with os.fdopen(handle, "w") as file:
            json.dump(_fresh(), file, indent=2)
        return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> Keys:
        try:
            document = json.loads(path.read_text())
            return cls(
                document["masterKey"],
                dict(document["functionKeys"]),
                {name: dict(keys) for name, keys in document.get("functions", {}).items()},
                dict(document["systemKeys"]),
                {name: Principal.read(each) for name, each in document.get("principals", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AppError(f"{path} is not a key file of this runner: {error!r}") from error

    def allows_function(self, level: str, name: str, given: str | None) -> bool:
        """Whether `given` opens an HTTP function of that authorization level ("anonymous", "function", "admin")."""
        if not self.enforced or level == "anonymous":
            return True
        accepted = [self.master]
        if level != "admin":
            accepted += [*self.function.values(), *self.functions.get(name, {}).values()]
        return _among(given, accepted)

    def principal_of(self, given: str | None) -> Principal | None:
        """Whose key this is, if it is anybody's in particular."""
        names = (name for name, key in self.function.items() if _among(given, [key]))
        return next((self.principals[name] for name in names if name in self.principals), None)

    def allows_admin(self, given: str | None) -> bool:
        return not self.enforced or _among(given, [self.master])

    def allows_system(self, extension: str, given: str | None) -> bool:
        """Webhooks of an extension take its system key or the master key."""
        return not self.enforced or _among(given, [self.master, self.system.get(extension, "")])


def _among(given: str | None, accepted: Iterable[str]) -> bool:
    if not given:
        return False
    return any(hmac.compare_digest(given.encode(), key.encode()) for key in accepted if key)


def _fresh() -> dict[str, object]:
    def key() -> str:
        return secrets.token_urlsafe(40)

    return {
        "masterKey": key(),
        "functionKeys": {"default": key()},
        "functions": {},
        "systemKeys": {DURABLE: key(), EVENT_GRID: key()},
    }
