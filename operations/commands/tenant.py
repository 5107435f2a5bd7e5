"""``operations tenant create | rate | delete``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from operations.commands.admin import write_token
from operations.console import console, plain_table, write
from operations.owner import owner_engine
from operations.tenants.creation import create_tenant
from operations.tenants.deletion import Step, delete_tenant, require_tenant
from operations.tenants.rates import rates, set_rate

app = typer.Typer(help="Create, limit and delete tenants.", no_args_is_help=True)

_ACTOR = typer.Option(
    None, "--actor", help="Name for the audit log; by default the user of this machine."
)


@app.command()
def create(
    slug: str = typer.Option(..., "--slug", help="Short name, also in URLs: demo-acme."),
    name: str = typer.Option(..., "--name", help="Display name."),
    owner_email: str = typer.Option(..., "--owner-email", help="The first owner's address."),
    owner_name: str | None = typer.Option(
        None, "--owner-name", help="The owner's display name, for a new account."
    ),
    tier: str | None = typer.Option(None, "--tier", help="One of account_tiers; default: none."),
    actor: str | None = _ACTOR,
) -> None:
    """Create a tenant with its owner, roles, settings and device templates."""
    with owner_engine() as engine:
        created = create_tenant(
            engine,
            slug=slug,
            name=name,
            owner_email=owner_email,
            owner_name=owner_name,
            tier=tier,
            actor=actor,
        )
    write(f"Created the tenant {created.slug}, {created.tenant_id}")
    table = plain_table("Relation", "Rows")
    for relation, rows in created.rows.items():
        table.add_row(relation, str(rows))
    console.print(table)
    if created.token is None:
        write(f"Owner   {created.owner.email}, who had an account already")
    else:
        write(f"Owner   {created.owner.email}, a new account")
        write_token(created.token)


@app.command()
def delete(
    slug: str = typer.Argument(..., help="The tenant's slug."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
    actor: str | None = _ACTOR,
) -> None:
    """Delete a tenant with all its rows; a deletion that was interrupted continues."""
    with owner_engine() as engine:
        tenant = require_tenant(engine, slug)
        if not yes:
            write(f"This deletes {tenant.name} ({tenant.tenant_id}) with all its rows, for good.")
            if typer.prompt("Type the slug to delete it", default="", show_default=False) != slug:
                write("Nothing was deleted")
                raise typer.Exit(1)
        with deletion_progress() as on_step:
            deleted = delete_tenant(engine, slug, actor=actor, on_step=on_step)
    write(f"Deleted the tenant {deleted.slug}: {sum(deleted.rows.values()):,} rows in this run")
    if deleted.left_over:
        write("Not a member of any tenant any more; their accounts stay:")
        for email in deleted.left_over:
            write(f"  {email}")


@app.command()
def rate(
    slug: str | None = typer.Argument(None, help="The tenant's slug; without it, all are shown."),
    per_minute: int | None = typer.Option(
        None, "--per-minute", help="Records of the tenant that the ingest may store in a minute."
    ),
    burst: int | None = typer.Option(
        None, "--burst", help="Records that may come at once; by default those of a day."
    ),
    none: bool = typer.Option(False, "--none", help="Lift the limit."),
    actor: str | None = _ACTOR,
) -> None:
    """Show, set or lift how many records of a tenant the ingest may store.

    Whoever sets a limit fills the bucket: a tenant that was refused is welcome again.
    """
    changes = none or per_minute is not None
    if (burst is not None and per_minute is None) or (none and per_minute is not None):
        raise typer.BadParameter("expected --per-minute N, with or without --burst M, or --none")
    if changes and slug is None:
        raise typer.BadParameter("expected the slug of a tenant")
    with owner_engine() as engine:
        if changes and slug is not None:
            set_rate(engine, slug, per_minute, burst, actor=actor)
        found = rates(engine, slug)
    if not found:
        write("No limit" if slug is None else f"{slug} has no limit")
        return
    table = plain_table("Tenant", "Records a minute", "At once", "Left")
    for one in found:
        table.add_row(one.slug, f"{one.records_per_minute:,}", f"{one.burst:,}", f"{one.left:,}")
    console.print(table)


@contextmanager
def deletion_progress() -> Iterator[Callable[[Step], None]]:
    """A line per transaction that deleted rows, and on a terminal a bar."""
    columns = TextColumn("Deleting from"), TextColumn("{task.description}"), BarColumn()
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("")

        def on_step(step: Step) -> None:
            done = step.number - (step.rows is None)
            progress.update(task, description=step.relations, total=step.steps, completed=done)
            if step.rows:
                write(f"  {step.number:>3}/{step.steps} {step.relations}: {step.rows:,}")

        yield on_step
