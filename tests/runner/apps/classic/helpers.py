# mypy: ignore-errors
from pathlib import Path

import azure.durable_functions as df

blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="marks")
def flaky(marks: str) -> str:
    path = Path(marks)
    attempt = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(attempt))
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt}")
    return f"succeeded at attempt {attempt}"
