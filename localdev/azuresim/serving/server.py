"""Azure ML's own inference server on a loopback port of its own choice. Run as a program in `.build/inference`.

The package's launcher binds 0.0.0.0:5001 (constants.py) and says nowhere when it is ready: the address it starts
gunicorn with is changed, and this file is also gunicorn's configuration, for the hook that writes the port down.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_READY_FILE = "AZURESIM_READY_FILE"


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook: a worker has loaded the script and its `init()` has returned."""
    port = worker.sockets[0].getsockname()[1]
    ready = Path(os.environ[_READY_FILE])
    fresh = ready.with_suffix(f".{worker.pid}")
    fresh.write_text(json.dumps({"port": port}))
    fresh.replace(ready)


def main(entry_script: str) -> None:
    from azureml_inference_server_http import (  # type: ignore[import-not-found]
        amlserver,
        amlserver_linux,
    )

    launch = amlserver_linux.run
    amlserver_linux.run = lambda host, port, workers, *_: launch("127.0.0.1", 0, workers)
    os.environ["GUNICORN_CMD_ARGS"] = f"--config {Path(__file__).resolve()} --no-control-socket"
    workers = os.environ.get("WORKER_COUNT", "1")
    sys.argv = ["azmlinfsrv", "--entry_script", entry_script, "--worker_count", workers]
    amlserver.run()


if __name__ == "__main__":
    main(sys.argv[1])
