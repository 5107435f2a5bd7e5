"""The part of ``operations demo`` that sends telemetry and shows what is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from sqlalchemy import Engine

from database.ingest import Ingested
from ddl.edition import Edition
from operations.console import console, plain_table, write
from operations.demo import telemetry as telemetry
from operations.demo.telemetry import Sight, Storage, Window
from operations.tenants.tenant import Tenant


def show(engine: Engine, tenants: Sequence[Tenant], *, devices: int, days: int) -> None:
    """Send the telemetry of the first ``devices`` devices of each tenant, then show it."""
    window = Window.of(days)
    result = _stream(engine, tenants, devices, window)
    edition = telemetry.edition(engine)
    if edition.has_policies:
        _tidy(engine, window, result)
    else:
        write(f"Left out on {edition}: {_LEFT_OUT[edition]}")
    sights = {t.slug: telemetry.seen_by_tenant(engine, t, window) for t in tenants}
    _show_sights(sights, telemetry.storage(engine, window))


_LEFT_OUT = {
    Edition.POSTGRESQL: (
        "hypertables, the columnstore and stored rollups; telemetry is one ordinary table, and "
        "hourly and daily values are computed when they are read"
    ),
    Edition.APACHE: (
        "the columnstore and stored rollups; telemetry is a hypertable of rows, and hourly and "
        "daily values are computed when they are read"
    ),
}


def _stream(engine: Engine, tenants: Sequence[Tenant], count: int, window: Window) -> Ingested:
    fleet = [device for tenant in tenants for device in telemetry.fleet(engine, tenant, count)]
    total = telemetry.expected(fleet, window)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    began = time.monotonic()
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(f"Telemetry of {len(fleet):,} devices", total=total)
        result = telemetry.stream(engine, fleet, window, lambda n: progress.advance(task, n))
        progress.update(task, completed=total)
    took = time.monotonic() - began
    sent = result.stored + result.duplicates + result.quarantined
    write()
    write(
        f"Telemetry of {window.start:%Y-%m-%d} to {window.end:%Y-%m-%d} through fleet_ingest: "
        f"{sent:,} messages of {len(fleet):,} devices in {took:.1f} s; {result.stored:,} stored, "
        f"{result.duplicates:,} skipped as duplicates, {result.quarantined:,} quarantined"
        + ("; nothing new: all of it is there already" if sent and not result.stored else ""),
    )
    return result


def _tidy(engine: Engine, window: Window, result: Ingested) -> None:
    """What the jobs of the server would do later."""
    if result.stored:
        with console.status("Refreshing rollups"):
            names = telemetry.refresh(engine, window)
        write(f"Refreshed {', '.join(names)}")
    with console.status("Compressing"):
        chunks = telemetry.compress(engine, window)
    write(f"{chunks} chunks are in the columnstore")


def _show_sights(sights: dict[str, Sight], storage: Storage) -> None:
    points = sum(sight.points for sight in sights.values()) or 1
    table = plain_table("", title="Telemetry, as each tenant sees it")
    for slug in sights:
        table.add_column(slug, justify="right")
    lines = {
        "points": [f"{s.points:,}" for s in sights.values()],
        "devices": [f"{s.devices:,}" for s in sights.values()],
        "rollup rows, hourly": [f"{s.hourly:,}" for s in sights.values()],
        "rollup rows, daily": [f"{s.daily:,}" for s in sights.values()],
        "quarantined": [f"{s.quarantined:,}" for s in sights.values()],
        "stored as rows *": [_share(storage.before, s, points) for s in sights.values()],
    }
    if storage.after is not None:
        after = storage.after
        lines["stored as columns *"] = [_share(after, s, points) for s in sights.values()]
    for what, values in lines.items():
        table.add_row(what, *values)
    write()
    console.print(table)
    write(f"* by share of points, since chunks hold all tenants: {_total(storage)}")
    for slug, sight in sights.items():
        write()
        write(f"Latest messages of {slug}:")
        for row in sight.latest:
            write(f"  {row.ts:%Y-%m-%d %H:%M} {row.device_id} {json.dumps(row.metrics)}")


def _total(storage: Storage) -> str:
    if storage.after is None:
        return f"{_megabytes(storage.before)} as rows"
    ratio = storage.before / max(storage.after, 1)
    return (
        f"{_megabytes(storage.before)} before compression, {_megabytes(storage.after)} after, "
        f"{ratio:.1f} times smaller"
    )


def _share(size: int, sight: Sight, points: int) -> str:
    return _megabytes(size * sight.points // points)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
