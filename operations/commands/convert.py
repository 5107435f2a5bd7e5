"""``operations convert``: TimescaleDB, for a database that was built without it."""

from __future__ import annotations

import typer
from rich.console import Console

from operations.maintenance.conversion import convert as convert_database
from operations.owner import owner_engine

app = typer.Typer()
console = Console()


@app.command()
def convert() -> None:
    """Make up for what earlier revisions left out, now that the server has TimescaleDB."""
    with owner_engine() as engine:
        converted = convert_database(engine, say=_say)
    if converted is None:
        _say("Nothing to convert: no revision left anything out")
        return
    _say(f"Converted to {converted.edition}: {len(converted.done)} operations in one transaction")
    if converted.filled:
        _say(f"Filled {', '.join(converted.filled)}")
    if converted.left:
        _say(f"{converted.left} entries wait for timescaledb-community: run this again with it")


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
