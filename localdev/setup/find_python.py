"""Print a Python 3.13 that works: `python3.13`, then pyenv's own folder, else the version, for uv to download.

uv does not see pyenv's versions behind its shims, and a shim may exist for a version that is not selected,
so every candidate is run before it is believed. Runs on any Python 3.11.
"""

import os
import pathlib
import shutil
import subprocess

WANTED = "3.13"


def works(path: str) -> bool:
    check = f"import sys, ssl, sqlite3; assert sys.version_info[:2] == tuple(map(int, {WANTED!r}.split('.')))"
    return subprocess.run([path, "-c", check], capture_output=True, check=False).returncode == 0


def candidates() -> list[str]:
    on_path = shutil.which(f"python{WANTED}")
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{WANTED}*/bin/python{WANTED}"), reverse=True)
    return [*([on_path] if on_path else []), *map(str, installed)]


print(next((path for path in candidates() if works(path)), WANTED))
