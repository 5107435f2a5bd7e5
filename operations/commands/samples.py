"""``operations samples delete``: take wrong samples of a device, tag or endpoint away."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from operations.commands.maintain import write_refreshed
from operations.commands.refresh import moment
from operations.console import write
from operations.maintenance import samples
from operations.owner import owner_engine

app = typer.Typer(help="Delete samples.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep ``delete`` a command of its own."""


@app.command()
def delete(
    slug: Annotated[str, typer.Argument(help="The tenant's slug.")],
    series: Annotated[str, typer.Argument(help="telemetry, tag_values, health_checks, …")],
    subject: Annotated[str, typer.Argument(help="The device, tag or endpoint, by its id.")],
    begins: Annotated[
        datetime.datetime,
        typer.Option("--from", parser=moment, metavar="TIME", help="In UTC unless it says."),
    ],
    ends: Annotated[
        datetime.datetime,
        typer.Option("--to", parser=moment, metavar="TIME", help="Not included."),
    ],
    reason: str = typer.Option(..., "--reason", help="Why, for the audit log."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say how many there are."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    actor: str | None = typer.Option(
        None, "--actor", help="Name for the audit log; by default the user of this machine."
    ),
) -> None:
    """Delete samples, compressed or not, and refresh the rollups over them right after.

    To correct samples, deliver them again after that: ingest() takes late ones.
    """
    if begins >= ends:
        raise typer.BadParameter(f"expected --from before --to, found {begins} and {ends}")
    chosen = samples.Samples(slug, series, subject, begins, ends)
    with owner_engine() as engine:
        found = samples.count(engine, chosen)
        if not found or dry_run:
            write(f"{found:,} samples: {chosen}")
            return
        write(f"This deletes {found:,} samples of {slug}, for good: {chosen}")
        if not yes and not typer.confirm("Delete them?"):
            write("Nothing was deleted")
            raise typer.Exit(1)
        deleted = samples.delete(
            engine,
            chosen,
            reason=reason,
            actor=actor,
            on_refreshed=lambda done: write_refreshed([done]),
        )
    write(f"Deleted {deleted:,} samples")
