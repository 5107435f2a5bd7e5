"""``operations convert``: TimescaleDB, for a database that was built without it."""

from __future__ import annotations

import typer

from database.console import Progress
from operations.console import write, write_lines
from operations.maintenance.conversion import convert as convert_database
from operations.owner import maintained_database

app = typer.Typer()


@app.command()
def convert() -> None:
    """Convert a database that was built without TimescaleDB, once the server has it.

    Plain tables become hypertables with all their rows, views become rollups, and policies start
    to run.
    """
    with maintained_database() as engine:
        conversion = convert_database(engine, progress=Progress(write_lines))
    if conversion is None:
        write("Nothing to convert: no operation is pending")
        return
    operations = len(conversion.done)
    write(f"Converted to {conversion.edition}: {operations} operations in one transaction")
    if conversion.filled:
        write(f"Filled {', '.join(conversion.filled)}")
    if conversion.left:
        write(
            f"{conversion.left} operations stay pending until the server has "
            "timescaledb-community: run this command again then"
        )
