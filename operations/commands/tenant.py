"""``operations tenant create | delete``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from operations.commands.admin import say_token
from operations.owner import owner_engine
from operations.tenants.creation import create_tenant
from operations.tenants.deletion import Step, delete_tenant, require_tenant

app = typer.Typer(help="Make and delete tenants.", no_args_is_help=True)
console = Console()

_ACTOR = typer.Option(
    None, "--actor", help="Who does this, for the audit log; else the user of this machine."
)


@app.command()
def create(
    slug: str = typer.Option(..., "--slug", help="What people and URLs call it: demo-acme."),
    name: str = typer.Option(..., "--name", help="Display name."),
    owner_email: str = typer.Option(..., "--owner-email", help="The first owner's address."),
    owner_name: str | None = typer.Option(None, "--owner-name", help="For a new account."),
    tier: str | None = typer.Option(None, "--tier", help="One of account_tiers; else none."),
    actor: str | None = _ACTOR,
) -> None:
    """Make a tenant with its owner, roles, settings and device templates."""
    with owner_engine() as engine:
        made = create_tenant(
            engine,
            slug=slug,
            name=name,
            owner_email=owner_email,
            owner_name=owner_name,
            tier=tier,
            actor=actor,
        )
    _say(f"Made the tenant {made.slug}, {made.tenant_id}")
    table = Table("Relation", "Rows", box=None, pad_edge=False)
    for relation, rows in made.rows.items():
        table.add_row(relation, str(rows))
    console.print(table)
    if made.token is None:
        _say(f"Owner   {made.owner.email}, whose account was there before")
    else:
        _say(f"Owner   {made.owner.email}, a new account")
        say_token(made.token)


@app.command()
def delete(
    slug: str = typer.Argument(..., help="The tenant's slug."),
    yes: bool = typer.Option(False, "--yes", help="Do not ask; for scripts."),
    actor: str | None = _ACTOR,
) -> None:
    """Delete a tenant with all its rows; run again, it goes on where it was stopped."""
    with owner_engine() as engine:
        tenant = require_tenant(engine, slug)
        if not yes:
            _say(f"This deletes {tenant.name} ({tenant.tenant_id}) with all its rows, for good.")
            if typer.prompt("Type the slug to delete it", default="", show_default=False) != slug:
                _say("Nothing was deleted")
                raise typer.Exit(1)
        with deletion_progress() as on_step:
            deleted = delete_tenant(engine, slug, actor=actor, on_step=on_step)
    _say(f"Deleted the tenant {deleted.slug}: {sum(deleted.rows.values()):,} rows in this run")
    if deleted.left_over:
        _say("Members of no tenant any more; their accounts stay:")
        for email in deleted.left_over:
            _say(f"  {email}")


@contextmanager
def deletion_progress() -> Iterator[Callable[[Step], None]]:
    """A line per transaction that deleted anything, and a bar where somebody watches."""
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
                _say(f"  {step.number:>3}/{step.steps} {step.relations}: {step.rows:,}")

        yield on_step


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
