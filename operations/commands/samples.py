"""``operations samples``: take wrong samples of a device, tag or endpoint away, or correct them."""

from __future__ import annotations

import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer
from sqlalchemy import Engine

from operations.commands.maintain import write_refreshed
from operations.commands.refresh import moment
from operations.console import write
from operations.maintenance import samples
from operations.maintenance.corrections import Correction
from operations.owner import maintained_database
from operations.text import count

app = typer.Typer(help="Delete or correct samples.", no_args_is_help=True)

_Slug = Annotated[str, typer.Argument(help="The tenant's slug.")]
_Series = Annotated[str, typer.Argument(help="telemetry, tag_values, health_checks, …")]
_Subject = Annotated[str, typer.Argument(help="The device, tag or endpoint, by its id.")]
_From = Annotated[
    datetime.datetime,
    typer.Option("--from", parser=moment, metavar="TIME", help="In UTC unless it says."),
]
_To = Annotated[
    datetime.datetime, typer.Option("--to", parser=moment, metavar="TIME", help="Not included.")
]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_Actor = Annotated[
    str | None,
    typer.Option("--actor", help="Name for the audit log; by default the user of this machine."),
]


def _number(text: str | Decimal) -> Decimal:
    """Not a float, which would round integers beyond 2^53."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise typer.BadParameter(f"expected a number, found {text!r}") from error


@app.command()
def delete(
    slug: _Slug,
    series: _Series,
    subject: _Subject,
    begins: _From,
    ends: _To,
    reason: _Reason,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    actor: _Actor = None,
) -> None:
    """Delete samples, compressed or not, and refresh the rollups over them right after.

    Values of the device's state that were among them become the newest that remain.
    """
    chosen = _chosen(slug, series, subject, begins, ends)
    with maintained_database() as engine:
        found = samples.count(engine, chosen)
        _write_lasting(engine, chosen)
        if not found or dry_run:
            write(f"{count(found, 'sample')}: {chosen}")
            return
        write(f"This deletes {count(found, 'sample')} of {slug}, for good: {chosen}")
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
    write(f"Deleted {count(deleted, 'sample')}")


@app.command()
def correct(
    slug: _Slug,
    series: _Series,
    subject: _Subject,
    begins: _From,
    ends: _To,
    reason: _Reason,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="Of messages, or a column; not for tag_values."),
    ] = None,
    scale: Annotated[
        Decimal,
        typer.Option(
            "--scale", parser=_number, metavar="NUMBER", help="Multiply each number by it."
        ),
    ] = Decimal(1),
    offset: Annotated[
        Decimal,
        typer.Option("--offset", parser=_number, metavar="NUMBER", help="Add it, after --scale."),
    ] = Decimal(0),
    value: Annotated[
        str | None,
        typer.Option("--set", metavar="JSON", help="The value of all; null takes them away."),
    ] = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    actor: _Actor = None,
) -> None:
    """Correct values, compressed or not, and refresh the rollups over them right after.

    With --scale and --offset a number becomes scale times itself plus offset, as for a sensor that
    was not calibrated; made twice, it counts twice. What is no number stays as it is.
    """
    chosen = _chosen(slug, series, subject, begins, ends)
    correction = Correction(metric, scale, offset, value)
    with maintained_database() as engine:
        found = samples.preview(engine, chosen, correction)
        _write_lasting(engine, chosen)
        what = f"{found.corrected:,} of {count(found.samples, 'sample')}"
        if None not in found.before:
            what += f", {_range(*found.before)}"
            if None not in found.after:
                what += f", which become {_range(*found.after)}"
        if not found.corrected or dry_run:
            write(f"{what}: {chosen}")
            return
        write(f"This corrects {what}, of {slug}: {chosen}")
        if not yes and not typer.confirm("Correct them?"):
            write("Nothing was corrected")
            raise typer.Exit(1)
        corrected = samples.correct(
            engine,
            chosen,
            correction,
            reason=reason,
            actor=actor,
            on_refreshed=lambda done: write_refreshed([done]),
        )
    write(f"Corrected {count(corrected, 'sample')}")


def _chosen(
    slug: str, series: str, subject: str, begins: datetime.datetime, ends: datetime.datetime
) -> samples.Samples:
    if begins >= ends:
        raise typer.BadParameter(f"expected --from before --to, found {begins} and {ends}")
    return samples.Samples(slug, series, subject, begins, ends)


def _write_lasting(engine: Engine, chosen: samples.Samples) -> None:
    """What no longer depends on samples."""
    for rollup, rows in samples.lasting(engine, chosen).items():
        write(
            f"{rollup}: {count(rows, 'bucket')} of this range will stay, since retention has "
            "deleted the samples that are in them"
        )


def _range(lowest: Decimal | None, highest: Decimal | None) -> str:
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
