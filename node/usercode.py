"""The user's own scoring code, in Azure ML's batch convention: init() once, run(mini_batch) with file paths.

Source: learn.microsoft.com, "Author scoring scripts for batch deployments"; AZUREML_MODEL_DIR is the model's folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas
import pyarrow as pa

from node.errors import CodeLoadError, ItemFault, reason_of
from node.models import SOURCE_COLUMN
from node.scoring import Input, Scored

_DEFAULT_COLUMN = "prediction"


class UserScorer:
    """The user's module, loaded in this process: its working directory and `sys.path` become the code's folder."""

    def __init__(
        self,
        folder: Path,
        entry: str,
        model_folder: Path,
        inputs_folder: Path,
        batch_size: int,
        column: str | None,
    ) -> None:
        self.batch_size = batch_size
        self._inputs_folder = inputs_folder
        self._column = column or _DEFAULT_COLUMN
        os.environ["AZUREML_MODEL_DIR"] = str(model_folder)
        os.chdir(folder)
        self._run = _load(folder, entry)

    def score(self, batch: Sequence[Input]) -> Scored:
        paths = [self._write(one) for one in batch]
        try:
            result = self._run([str(path) for path in paths])
        except Exception as error:  # the user's code may raise anything
            raise ItemFault(f"run() raised {reason_of(error)}") from error
        finally:
            for path in paths:
                path.unlink(missing_ok=True)
        return self._attributed(self._table(result), batch)

    def _write(self, one: Input) -> Path:
        """A folder of its own for each input: the file keeps its name, and two of the same name do not meet."""
        folder = self._inputs_folder / str(one.index)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / one.blob.rstrip("/").rpartition("/")[2]
        path.write_bytes(one.data)
        return path

    def _table(self, result: Any) -> pa.Table:
        try:
            frame = result if isinstance(result, pandas.DataFrame) else self._frame(result)
            table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ItemFault(f"what run() returned is no table: {reason_of(error)}") from error
        if SOURCE_COLUMN in table.column_names:
            raise ItemFault(f"run() returned a column {SOURCE_COLUMN}, which is ours")
        return table.replace_schema_metadata(None)

    def _frame(self, result: Any) -> pandas.DataFrame:
        if hasattr(result, "tolist"):
            result = result.tolist()
        if not isinstance(result, list | tuple):
            raise ItemFault(f"run() returned a {type(result).__name__}, a list or DataFrame is expected")
        rows = [row.item() if hasattr(row, "item") else row for row in result]
        if rows and all(isinstance(row, dict) for row in rows):
            return pandas.DataFrame(rows)
        if len({type(row) for row in rows}) > 1 or any(
            not isinstance(row, bool | int | float | str) for row in rows
        ):
            rows = [row if isinstance(row, str) else json.dumps(row, default=str) for row in rows]
        return pandas.DataFrame({self._column: rows})

    def _attributed(self, table: pa.Table, batch: Sequence[Input]) -> Scored:
        """Say which row is whose: all of a single file's, or the i-th row of the i-th file.

        Any other number of rows cannot be attributed, and the receipt counts rows by file: from then on, files come
        one at a time, those of this batch again.
        """
        count = table.num_rows
        if len(batch) > 1 and count != len(batch):
            self.batch_size = 1
            raise ItemFault(f"run() returned {count} results for {len(batch)} files: whose is not known")
        if count == 0:
            raise ItemFault("run() returned nothing for this file")
        rows = (count,) if len(batch) == 1 else (1,) * count
        sources = [one.blob for one, its in zip(batch, rows, strict=True) for _ in range(its)]
        return Scored(table.append_column(SOURCE_COLUMN, pa.array(sources, pa.string())), rows)


def _load(folder: Path, entry: str) -> Callable[[list[str]], Any]:
    path = (folder / entry).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise CodeLoadError(f"the code has no file {entry}")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CodeLoadError(f"{entry} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        init, run = getattr(module, "init", None), getattr(module, "run", None)
        if not callable(init) or not callable(run):
            raise CodeLoadError(f"{entry} must define init() and run(mini_batch)")
        init()
    except CodeLoadError:
        raise
    except Exception as error:  # importing and init() run the user's code
        raise CodeLoadError(f"{entry}: {reason_of(error)}") from error
    return run  # type: ignore[no-any-return]
