"""``operations demo``: two tenants with thousands of devices and a week of telemetry."""

from __future__ import annotations

from functools import partial

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from operations.commands import demo_telemetry
from operations.commands.tenant import deletion_progress
from operations.console import console, plain_table, write
from operations.demo import registration, visibility
from operations.demo.tenant_data import TENANTS
from operations.owner import owner_engine
from operations.tenants.tenant import Tenant

app = typer.Typer()


@app.command()
def demo(
    devices: int = typer.Option(
        3000, "--devices", min=len(TENANTS), help="Devices of both tenants together."
    ),
    reporting: int = typer.Option(
        300, "--reporting", min=0, help="Devices of each tenant that send telemetry; 0: none."
    ),
    days: int = typer.Option(
        7, "--days", min=1, max=90, help="Days of telemetry, up to the last midnight (UTC)."
    ),
    remove: bool = typer.Option(
        False, "--remove", help="Delete the two tenants and their owners' accounts."
    ),
) -> None:
    """Create two tenants with devices and telemetry, then show what each can see and do."""
    with owner_engine() as engine:
        if remove:
            _remove(engine)
            return
        tenants = _register(engine, devices)
        _show_sights(engine, tenants)
        if reporting:
            demo_telemetry.show(engine, tenants, devices=reporting, days=days)
        _show_attempts(engine, intruder=tenants[-1], victim=tenants[0])


def _register(engine: Engine, devices: int) -> list[Tenant]:
    """Register the devices that are missing; with a progress bar on a terminal."""
    tenants = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        for number, demo_tenant in enumerate(TENANTS):
            share = (devices + len(TENANTS) - 1 - number) // len(TENANTS)
            tenant, new = registration.ensure_tenant(engine, demo_tenant)
            missing = registration.missing_devices(engine, demo_tenant, tenant.tenant_id, share)
            task = progress.add_task(f"Devices of {demo_tenant.slug}", total=len(missing))
            advance = partial(progress.advance, task)
            added = registration.register(engine, demo_tenant, tenant.tenant_id, missing, advance)
            rows = ", ".join(f"{name} {count:,}" for name, count in added.items())
            state = "created" if new else "was there"
            write(
                f"{demo_tenant.slug} {state}; added {rows or 'nothing: all of it is there already'}"
            )
            tenants.append(tenant)
    return tenants


def _show_sights(engine: Engine, tenants: list[Tenant]) -> None:
    seen = {tenant.slug: visibility.seen_by_tenant(engine, tenant) for tenant in tenants}
    seen["no tenant"] = visibility.seen_without_tenant(engine)
    table = _counts_table("The same queries as fleet_app", *seen)
    for what in dict.fromkeys(what for counts in seen.values() for what in counts):
        table.add_row(what, *(f"{counts.get(what, 0):,}" for counts in seen.values()))
    write()
    console.print(table)

    rows, audit = visibility.seen_by_operator(engine)
    table = _counts_table(
        "The same as an operator, across tenants", "status", "sites", "devices", "sensors"
    )
    for row in rows:
        table.add_row(
            row.slug, row.status, f"{row.sites:,}", f"{row.devices:,}", f"{row.sensors:,}"
        )
    write()
    console.print(table)
    write(
        f"The entry in operator_audit_log: {audit.created_at:%Y-%m-%d %H:%M:%S %Z}, "
        f"{audit.user_id} (login {audit.login}), {audit.action}: {audit.reason}"
    )


def _show_attempts(engine: Engine, intruder: Tenant, victim: Tenant) -> None:
    before = visibility.fingerprint(engine, victim)
    answers = visibility.attempts(engine, intruder, victim)
    untouched = visibility.fingerprint(engine, victim) == before
    chosen = visibility.chosen_tenant(engine, intruder, victim)

    table = Table(
        title=f"{intruder.slug} tries to …",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in (f"… on {victim.slug}", "The server's answer", "Rejected"):
        table.add_column(heading, overflow="fold")
    for answer in answers:
        table.add_row(answer.attempt, answer.text, "yes" if answer.rejected else "NO")
    write()
    console.print(table, markup=False)
    through = [answer.attempt for answer in answers if not answer.rejected]
    write(
        f"{len(answers) - len(through)} of {len(answers)} attempts were rejected; the rows of "
        f"{victim.slug} {'are unchanged' if untouched else 'HAVE CHANGED'} (checksum)."
    )
    counted = f"after set_config('app.tenant_id', …) the same connection counts {chosen:,} devices"
    write(
        f"The limit of this: {counted} of {victim.slug}. The tenant is what the application sets. "
        "Row-level security protects from a forgotten condition or a forged id, not from SQL that "
        "a tenant wrote: always use bound parameters, and see operations context sign."
        if chosen
        else f"This database is signed: {counted} of {victim.slug}."
    )
    if through or not untouched:
        raise typer.Exit(1)


def _remove(engine: Engine) -> None:
    with deletion_progress() as on_step:
        deleted = registration.remove(engine, on_step)
    for tenant in deleted:
        write(f"Deleted the tenant {tenant.slug}: {sum(tenant.rows.values()):,} rows")
    if not deleted:
        write("Nothing to remove: the tenants of the demonstration are not there")


def _counts_table(title: str, *headings: str) -> Table:
    """An empty table with a column for names, then one for numbers per heading."""
    table = plain_table("", title=title)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table
