"""``operations demo``: two tenants with thousands of devices and a week of telemetry."""

from __future__ import annotations

from functools import partial

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from operations.commands import demo_telemetry
from operations.commands.tenant import deletion_progress
from operations.demo import registration as making
from operations.demo import visibility as views
from operations.demo.tenant_data import TENANTS
from operations.owner import owner_engine
from operations.tenants.tenant import Tenant

app = typer.Typer()
console = Console()


@app.command()
def demo(
    devices: int = typer.Option(3000, "--devices", min=len(TENANTS), help="In both tenants."),
    reporting: int = typer.Option(
        300, "--reporting", min=0, help="Devices of each tenant that send telemetry; 0 is none."
    ),
    days: int = typer.Option(7, "--days", min=1, max=90, help="Of telemetry, up to midnight UTC."),
    remove: bool = typer.Option(False, "--remove", help="Delete the two tenants again."),
) -> None:
    """Make two tenants with devices and telemetry, then show what each sees, and cannot do."""
    with owner_engine() as engine:
        if remove:
            _remove(engine)
            return
        made = _make(engine, devices)
        _show_sights(engine, made)
        if reporting:
            demo_telemetry.show(engine, made, devices=reporting, days=days, console=console)
        _show_attempts(engine, intruder=made[-1], victim=made[0])


def _make(engine: Engine, devices: int) -> list[Tenant]:
    """Register what is missing, with a progress bar where somebody watches."""
    made = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        for number, wanted in enumerate(TENANTS):
            share = (devices + len(TENANTS) - 1 - number) // len(TENANTS)
            tenant, new = making.ensure_tenant(engine, wanted)
            missing = making.missing_devices(engine, wanted, tenant.tenant_id, share)
            task = progress.add_task(f"Devices of {wanted.slug}", total=len(missing))
            advance = partial(progress.advance, task)
            added = making.register(engine, wanted, tenant.tenant_id, missing, advance)
            rows = ", ".join(f"{name} {count:,}" for name, count in added.items())
            what = "made" if new else "was there"
            _say(f"{wanted.slug} {what}; added {rows or 'nothing: all of it is there already'}")
            made.append(tenant)
    return made


def _show_sights(engine: Engine, made: list[Tenant]) -> None:
    seen = {tenant.slug: views.seen_by_tenant(engine, tenant) for tenant in made}
    seen["no tenant"] = views.seen_by_nobody(engine)
    table = _table("The same queries, as fleet_app", *seen)
    for what in dict.fromkeys(what for counts in seen.values() for what in counts):
        table.add_row(what, *(f"{counts.get(what, 0):,}" for counts in seen.values()))
    console.print(table)

    rows, audit = views.seen_by_operator(engine)
    table = _table("An operator, across tenants", "status", "sites", "devices", "sensors")
    for row in rows:
        table.add_row(
            row.slug, row.status, f"{row.sites:,}", f"{row.devices:,}", f"{row.sensors:,}"
        )
    console.print(table)
    _say(
        f"operator_audit_log has it: {audit.created_at:%Y-%m-%d %H:%M:%S %Z}, {audit.user_id} "
        f"(login {audit.login}), {audit.action}: {audit.reason}"
    )


def _show_attempts(engine: Engine, intruder: Tenant, victim: Tenant) -> None:
    before = views.fingerprint(engine, victim)
    answers = views.attempts(engine, intruder, victim)
    untouched = views.fingerprint(engine, victim) == before
    chosen = views.chosen_tenant(engine, intruder, victim)

    table = Table(
        title=f"{intruder.slug} tries to …",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for heading in (f"… on {victim.slug}", "The server's answer", "Kept out"):
        table.add_column(heading, overflow="fold")
    for answer in answers:
        table.add_row(answer.attempt, answer.said, "yes" if answer.kept_out else "NO")
    console.print()
    console.print(table, markup=False)
    through = [answer.attempt for answer in answers if not answer.kept_out]
    _say(
        f"{len(answers) - len(through)} of {len(answers)} attempts were kept out; the rows of "
        f"{victim.slug} {'are unchanged' if untouched else 'HAVE CHANGED'} (checksum)."
    )
    _say(
        f"The edge of it: after set_config('app.tenant_id', …) the same connection counts "
        f"{chosen:,} devices of {victim.slug}. The tenant is what the application sets. Row "
        "security makes up for a forgotten condition or a forged id; it cannot for SQL that a "
        "tenant wrote: use bound parameters, always."
    )
    if through or not untouched:
        raise typer.Exit(1)


def _remove(engine: Engine) -> None:
    with deletion_progress() as on_step:
        deleted = making.remove(engine, on_step)
    for tenant in deleted:
        _say(f"Deleted the tenant {tenant.slug}: {sum(tenant.rows.values()):,} rows")
    if not deleted:
        _say("Nothing to remove: the tenants of the demonstration are not there")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    console.print()
    return table


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
