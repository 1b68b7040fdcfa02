"""A job followed through azure-ai-ml: streamed, read, downloaded, archived. All but the job itself is run history.

Says what it saw in the end, as JSON on the last line. Run by test_ml_history.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from azure.ai.ml import MLClient, Output, command
from azure.ai.ml.entities import AmlCompute, Environment
from azure.ai.ml.exceptions import JobException
from azure.identity import ManagedIdentityCredential

WORKSPACE = os.environ["MUSTER_ML_WORKSPACE"].split("/")
SCRIPT = """
import os, pathlib, sys
print("loss 0.5")
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "model.txt").write_text("a model")
sys.exit(int(sys.argv[2]))
"""


def streamed(ml: MLClient, job: str) -> list[str]:
    """The lines the SDK shows of a job, and of the error it ends with."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        try:
            ml.jobs.stream(job)
        except JobException as error:
            print(error)
    return shown.getvalue().splitlines()


def trial(ml: MLClient, folder: Path, name: str, status: int) -> Any:
    (folder / "train.py").write_text(SCRIPT)
    job = command(
        name=name,
        code=str(folder),
        command=f"python train.py ${{{{outputs.model}}}} {status}",
        environment="azureml:train:1",
        compute="ml-runs",
        outputs={"model": Output(type="uri_folder")},
        experiment_name="retraining",
    )
    return ml.jobs.create_or_update(job)


def follow(ml: MLClient, folder: Path) -> dict[str, Any]:
    (folder / "code").mkdir()
    made = trial(ml, folder / "code", "good", 0)
    seen: dict[str, Any] = {"made": [made.name, made.experiment_name]}
    seen["stream"] = streamed(ml, "good")
    got = ml.jobs.get("good")
    seen["got"] = [got.status, got.display_name, got.experiment_name]
    details = ml.jobs._runs_operations.get_run_details("good")
    seen["details"] = [
        details.run_id,
        details.status,
        details.target,
        details.end_time_utc > details.start_time_utc,
    ]
    seen["children"] = len(list(ml.jobs.list(parent_job_name="good")))
    ml.jobs.download("good", download_path=str(folder / "down"), all=True)
    ml.jobs.download("good", download_path=str(folder / "named"), output_name="model")
    seen["downloaded"] = sorted(each.name for each in (folder / "down").rglob("*.txt"))
    seen["named"] = [each.read_text() for each in (folder / "named").rglob("model.txt")]
    trial(ml, folder / "code", "bad", 3)
    seen["bad"] = streamed(ml, "bad")
    ml.jobs.archive("good")
    seen["after archive"] = [each.name for each in ml.jobs.list()]
    ml.jobs.restore("good")
    seen["after restore"] = [each.name for each in ml.jobs.list()]
    return seen


def main() -> None:
    credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
    ml = MLClient(credential, WORKSPACE[2], WORKSPACE[4], WORKSPACE[8], enable_telemetry=False)
    ml.environments.create_or_update(
        Environment(name="train", version="1", image="mcr.microsoft.com/azureml/base:1")
    )
    cluster = AmlCompute(name="ml-runs", size="Standard_D4s_v5", min_instances=0, max_instances=1)
    ml.compute.begin_create_or_update(cluster).result()
    with tempfile.TemporaryDirectory() as folder:
        seen = follow(ml, Path(folder))
    print(f"\n{json.dumps(seen)}")


if __name__ == "__main__":
    main()
