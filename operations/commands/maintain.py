"""``operations maintain``: retention, for a scheduler to run every day."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from operations.maintenance.run import Removal, Report
from operations.maintenance.run import maintain as run_maintenance
from operations.owner import owner_engine

app = typer.Typer()
console = Console()

SHOWN = 40
"""Lines of the table; the rest is summed up."""


@app.command()
def maintain(
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would go; change nothing."),
) -> None:
    """Delete what is older than it is kept for, for all and for single tenants."""
    with owner_engine() as engine:
        report = run_maintenance(engine, dry_run=dry_run)
    _say_removals(report)
    for problem in report.problems:
        _say(f"problem: {problem}")
    if report.problems:
        raise typer.Exit(1)


def _say_removals(report: Report) -> None:
    would = "would go" if report.dry_run else "went"
    rows = sum(removal.rows for removal in report.removals)
    _say(f"Edition {report.edition}: {rows:,} rows {would}" + (" (dry run)" * report.dry_run))
    if report.edition == "timescaledb-community":
        _say("What is too old for everybody is dropped by TimescaleDB's own jobs")
    if not report.removals:
        return
    table = Table("Relation", "Tenant", "Rows", "Why", box=None, pad_edge=False)
    for removal in report.removals[:SHOWN]:
        table.add_row(removal.relation, _who(report, removal), f"{removal.rows:,}", removal.why)
    console.print(table)
    if rest := report.removals[SHOWN:]:
        _say(f"and {sum(removal.rows for removal in rest):,} rows in {len(rest)} more lines")


def _who(report: Report, removal: Removal) -> str:
    if removal.tenant_id is None:
        return "all"
    return report.slugs.get(removal.tenant_id, str(removal.tenant_id))


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
