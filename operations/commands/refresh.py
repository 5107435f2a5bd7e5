"""``operations refresh``: rollups after an import, without waiting for maintenance."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer
from sqlalchemy import Connection

from operations.commands.maintain import ProgressLines, write_refreshed
from operations.console import console, write
from operations.lock import exclusive_run
from operations.maintenance import late_data
from operations.maintenance.late_data import Rollup, Step
from operations.maintenance.run import BUSY
from operations.owner import maintained_database
from operations.text import count

app = typer.Typer()


def moment(text: str) -> datetime.datetime:
    """A time of the command line; in UTC unless it says."""
    try:
        found = datetime.datetime.fromisoformat(text)
        zoned = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:  # The latter in the years 1 and 9999.
        raise typer.BadParameter(
            f"expected a date or a time as in 2026-03-01 or 2026-03-01T06:00+01:00, found {text!r}"
        ) from error


@app.command()
def refresh(
    relations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RELATION]…",
            help="Rollups, or hypertables for all rollups over them, as telemetry; default: all.",
        ),
    ] = None,
    begins: Annotated[
        datetime.datetime | None,
        typer.Option("--from", parser=moment, metavar="TIME", help="In UTC unless it says."),
    ] = None,
    ends: Annotated[
        datetime.datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", help="Not included."),
    ] = None,
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Take late or imported rows into rollups now, a few chunks at a time.

    Only buckets whose raw data changed are computed. Those that the raw data no longer covers stay
    as they are. Jobs on what is refreshed wait until it is done. A run that was interrupted can be
    started again and continues.
    """
    if begins and ends and begins >= ends:
        raise typer.BadParameter(f"expected --from before --to, found {begins} and {ends}")
    with maintained_database() as engine, engine.connect() as connection:
        with connection.begin():
            stored = late_data.rollups(connection)
        if not stored:
            write("Rollups are views on this edition: they always show the raw data as it is")
            return
        listed = _named(stored, relations or [])
        with exclusive_run(connection, "maintain", BUSY):
            pending = []
            with connection.begin():
                for rollup in listed:
                    late_data.note_dropped(connection, rollup)
                    if found := late_data.steps(connection, rollup, begins, ends):
                        pending.append(rollup)
                        _write_extent(connection, found)
            if not pending:
                write("Nothing to refresh: the rollups have all rows of this range")
                return
            if not yes and not typer.confirm("Refresh them?"):
                raise typer.Exit(1)
            progress = ProgressLines()
            for rollup in pending:
                with console.status(f"Refreshing {rollup.name}"):
                    done = late_data.take_in(connection, rollup, begins, ends, on_progress=progress)
                if done is not None:
                    write_refreshed([done])


def _write_extent(connection: Connection, found: list[Step]) -> None:
    """What will be read and replaced, and what will not."""
    rollup, first, last = found[0].rollup, found[0].begins, found[-1].ends
    extent = late_data.extent(connection, rollup, first, last)
    write(
        f"{rollup.name}: {count(len(found), 'chunk')} of {rollup.source} with late rows, {first} "
        f"to {last}; {extent.rows:,} rows there now, of which {extent.stay:,} stay as they are, "
        "since raw data no longer covers them"
    )


def _named(stored: list[Rollup], relations: list[str]) -> list[Rollup]:
    """Rollups by their own names or that of what they read, in the order of ``stored``."""
    chosen = {one.removeprefix("timeseries.") for one in relations}
    known = {name for rollup in stored for name in (rollup.table, rollup.source)}
    if unknown := sorted(chosen - known):
        raise typer.BadParameter(
            f"expected rollups or what they read ({', '.join(sorted(known))}), found "
            f"{', '.join(unknown)}"
        )
    if not chosen:
        return stored
    return [one for one in stored if chosen & {one.table, one.source}]
