"""``python -m benchmarks``: measure, print the table, write the plot."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    context,
    functions,
    growth,
    ingest,
    place,
    queries,
    questions,
    report,
    storage,
)
from benchmarks.fleet import Readings
from benchmarks.measure import Ratio
from database.errors import FleetSchemaError
from tests.support.servers import DatabaseServer

console = Console()
RESULTS = Path("benchmarks/results")
EVERY = datetime.timedelta(minutes=5)


def main(
    url: str | None = typer.Option(
        None, help="Server for databases fleetschema_benchmark_*, which are dropped afterwards."
    ),
    tenants: int = typer.Option(200, min=2),
    devices: int = typer.Option(5, min=3, help="Devices of each tenant."),
    days: int = typer.Option(30, min=10, help="Days of readings, one every 5 minutes."),
    rounds: int = typer.Option(9, min=3),
    only: str = typer.Option(
        "", help="Comma-separated: ingest, queries, questions, functions, storage, context, growth."
    ),
    signed: bool = typer.Option(False, help="In signed databases: see operations context."),
    to: Annotated[Path, typer.Option(help="Folder for the table and the plot.")] = RESULTS,
) -> None:
    """Measure ratios side by side, by default on at least 5 million rows."""
    try:
        with place.server(url) as server:
            parts = set(only.split(",")) - {""}
            _measure(server, tenants, devices, days, rounds, parts, to, signed=signed)
    except FleetSchemaError as error:
        console.print(f"Error: {error}", style="red", soft_wrap=True, highlight=False)
        sys.exit(1)


def _measure(
    server: DatabaseServer,
    tenants: int,
    devices: int,
    days: int,
    rounds: int,
    only: set[str],
    to: Path,
    *,
    signed: bool,
) -> None:
    readings = Readings(tenants, devices, EVERY, days)
    few = min(20, tenants)
    parts: dict[str, Callable[[place.Place], Iterator[Ratio]]] = {
        "ingest": lambda at: ingest.run(at, tenants=tenants, devices=devices, rounds=rounds),
        "queries": lambda at: queries.run(at, readings, rounds=rounds),
        "questions": lambda at: questions.run(at, rounds=rounds),
        "functions": lambda at: functions.run(at, rounds=rounds),
        "storage": lambda at: storage.run(at, tenants=few, devices=devices),
        "context": lambda at: context.run(at, rounds=rounds),
    }
    known = {*parts, "growth"}
    if unknown := only - known:
        raise place.BenchmarkError(
            f"--only: expected some of {', '.join(sorted(known))}, found {', '.join(unknown)}"
        )
    ratios: list[Ratio] = []
    described = ""
    for name, part in parts.items():
        if only and name not in only:
            continue
        with place.place(server, name, signed=signed) as at:
            described = at.server
            ratios += _said(part(at))
        _write(ratios, described, readings, to)
    if not only or "growth" in only:
        ratios += _said(growth.run(server, rounds=rounds, signed=signed))
        _write(ratios, described, readings, to)
    sys.stdout.write(f"\n{report.markdown(ratios)}\n")
    console.print(f"Wrote {to / 'table.md'} and the plots beside it", highlight=False)


def _write(ratios: list[Ratio], described: str, readings: Readings, to: Path) -> None:
    """After each part, so that a run that is interrupted leaves what it measured."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "table.md").write_text(report.markdown(ratios), encoding="utf-8")
    title = f"{described or 'growth'}; {readings.rows:,} rows of {readings.tenants} tenants"
    report.plot(ratios, title, to / "performance.svg")
    if asked := [ratio for ratio in ratios if ratio.group == "questions"]:
        shown = f"{described}; {questions.TRUCKS} trucks, {questions.DAYS} days, 2 tenants"
        report.plot_questions(asked, shown, to / "questions.svg")
    if guarded := [ratio for ratio in ratios if " : owner, " in ratio.group]:
        report.plot_context(guarded, described, to / "context.svg")


def _said(found: Iterator[Ratio]) -> list[Ratio]:
    """Print each ratio as soon as it is known: a whole run takes minutes."""
    ratios = []
    for ratio in found:
        console.print("  ".join(report.cells(ratio)), soft_wrap=True, highlight=False)
        ratios.append(ratio)
    return ratios


typer.run(main)
