"""``operations adopt``: TimescaleDB, for a database that was built without it."""

from __future__ import annotations

import typer
from rich.console import Console

from operations import adoption
from operations.owner import owner_engine

app = typer.Typer()
console = Console()


@app.command()
def adopt() -> None:
    """Make up for what earlier revisions left out, now that the server has TimescaleDB."""
    with owner_engine() as engine:
        adopted = adoption.adopt(engine, say=_say)
    if adopted is None:
        _say("Nothing to adopt: no revision left anything out")
        return
    _say(f"Adopted {adopted.edition}: {len(adopted.done)} operations in one transaction")
    if adopted.filled:
        _say(f"Filled {', '.join(adopted.filled)}")
    if adopted.left:
        _say(f"{adopted.left} entries wait for timescaledb-community: run this again with it")


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
