"""``operations metrics``: values of declared metrics, into their columns and back."""

from __future__ import annotations

from typing import Annotated

import typer

from models.telemetry.metrics import METRICS
from operations import metric_columns
from operations.console import write
from operations.owner import maintained_database

app = typer.Typer(help="Values of declared metrics, into their columns and back.")


@app.command()
def fill() -> None:
    """Move the values of declared metrics in old rows from the JSON into their columns.

    Chunk by chunk, compressed ones too; who reads or writes a chunk waits while it is its turn. Run
    it again if it was interrupted.
    """
    with maintained_database() as engine:
        rows = metric_columns.fill(engine, METRICS, _say)
    write(f"{rows:,} rows have values in columns that were in the JSON")


@app.command()
def empty(
    names: Annotated[list[str], typer.Argument(help="Metrics that are declared no more.")],
) -> None:
    """Move values back into the JSON, before a revision drops their columns."""
    with maintained_database() as engine:
        rows = metric_columns.empty(engine, names, _say)
    write(f"{rows:,} rows have values in the JSON that were in columns")


def _say(where: str, rows: int) -> None:
    write(f"{where}: {rows:,} rows")
