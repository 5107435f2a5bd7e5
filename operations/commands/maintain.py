"""``operations maintain``: retention and purges, for a scheduler to run every day."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence

import typer

from operations.console import console, plain_table, write
from operations.maintenance.late_data import Progress, Refreshed
from operations.maintenance.run import Removal, Report
from operations.maintenance.run import maintain as run_maintenance
from operations.owner import maintained_database
from operations.text import count

app = typer.Typer()

SHOWN = 40
"""Lines of the table; the rest is summed up."""


@app.command()
def maintain(
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Show what would be deleted; change nothing."
    ),
) -> None:
    """Take late data into rollups, delete rows older than their retention, purge.

    Also reports jobs of TimescaleDB that do not run as declared; exit code 1 if there are any.
    """
    with maintained_database() as engine:
        report = run_maintenance(engine, dry_run=dry_run, on_progress=ProgressLines())
    write_refreshed(report.refreshed, dry_run=dry_run)
    _write_removals(report)
    for problem in report.problems:
        write(f"problem: {problem}")
    if report.problems:
        raise typer.Exit(1)


class ProgressLines:
    """Every ten seconds a line: how far the refresh of a rollup is, and how long it will take."""

    EVERY = 10

    def __init__(self) -> None:
        self._began = self._written = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take a report; the first of each rollup says that nothing is done yet."""
        now = time.monotonic()
        if progress.done == 0:
            self._began = self._written = now
        elif self._written + self.EVERY <= now and progress.done < progress.chunks:
            self._written = now
            left = (now - self._began) / progress.done * (progress.chunks - progress.done)
            write(
                f"Refreshing {progress.rollup}: {progress.done:,} of {progress.chunks:,} chunks, "
                f"about {datetime.timedelta(seconds=math.ceil(left))} left"
            )


def write_refreshed(refreshed: Sequence[Refreshed], *, dry_run: bool = False) -> None:
    """A line for each rollup."""
    for one in refreshed:
        write(
            f"{'Would refresh' if dry_run else 'Refreshed'} {one.rollup}: "
            f"{count(one.chunks, 'chunk')} of {one.source} with late rows, {one.begins} to "
            f"{one.ends}"
        )


def _write_removals(report: Report) -> None:
    outcome = "would go (dry run)" if report.dry_run else "deleted"
    rows = sum(removal.rows for removal in report.removals)
    write(f"Edition {report.edition}: {rows:,} rows {outcome}")
    if report.edition == "timescaledb-community":
        write("Jobs of TimescaleDB drop what is too old for every tenant")
    if not report.removals:
        return
    table = plain_table("Relation", "Tenant", "Rows", "Reason")
    for removal in report.removals[:SHOWN]:
        table.add_row(removal.relation, _tenant(report, removal), f"{removal.rows:,}", removal.why)
    console.print(table)
    if rest := report.removals[SHOWN:]:
        write(f"and {sum(removal.rows for removal in rest):,} rows in {len(rest)} more lines")


def _tenant(report: Report, removal: Removal) -> str:
    if removal.tenant_id is None:
        return "all"
    return report.slugs.get(removal.tenant_id, str(removal.tenant_id))
