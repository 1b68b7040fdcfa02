"""Scoring scripts that the tests deploy, written where a deployment finds them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

# Does what its request asks for, so that one server will do for many tests.
OBEDIENT = """
    import atexit, json, os, time
    from pathlib import Path
    from azureml_inference_server_http.api.aml_response import AMLResponse

    def init():
        print("obedient is up")
        if "FAREWELL" in os.environ:
            atexit.register(Path(os.environ["FAREWELL"]).touch)

    def run(raw):
        asked = json.loads(raw)
        time.sleep(asked.get("sleep", 0))
        if "exit" in asked:
            os._exit(asked["exit"])
        if "error" in asked:
            raise RuntimeError(asked["error"])
        if "status" in asked:
            return AMLResponse({"detail": "as you wish"}, asked["status"], json_str=True)
        if "hog_mb" in asked:
            hoard = bytearray(asked["hog_mb"] * 1024 * 1024)
            for page in range(0, len(hoard), 4096):
                hoard[page] = 1
            time.sleep(20)
        if "process" in asked:
            return {"process": os.getpid()}
        if "environment" in asked:
            return dict(os.environ)
        return {"predictions": [0.5], "received": len(raw)}
"""
BROKEN = """
    def init():
        raise ValueError("no model of that name")

    def run(raw):
        return {}
"""
HUNGRY = """
    import time

    def init():
        hoard = bytearray(400 * 1024 * 1024)
        for page in range(0, len(hoard), 4096):
            hoard[page] = 1
        time.sleep(20)

    def run(raw):
        return {}
"""
COLLECTING = """
    import os
    from pathlib import Path

    def init():
        global model
        model = (Path(os.environ["AZUREML_MODEL_DIR"]) / "weights.txt").read_text()

    def run(raw):
        from azure.identity import ManagedIdentityCredential
        from azure.storage.blob import BlobClient
        blob = BlobClient(os.environ["ACCOUNT_URL"], "modeldata", "seen.txt", credential=ManagedIdentityCredential())
        blob.upload_blob(raw, overwrite=True)
        return {"model": model}
"""


def write(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score.py").write_text(dedent(script))
    return folder
