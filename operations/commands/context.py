"""``operations context status | rotate | forget | sign | plain``."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from database.settings import Settings
from operations.access import context
from operations.console import console, plain_table, write
from operations.owner import maintained_database

app = typer.Typer(
    help="Sign the tenant of each transaction, or trust who sets it.", no_args_is_help=True
)


@app.command()
def status() -> None:
    """Say whether the database is signed, and list its keys, without their secrets."""
    with maintained_database() as engine, engine.connect() as connection:
        found = context.read(connection)
    write(
        "The database is signed: a tenant needs a token"
        if found.signed
        else "The database is plain: app.tenant_id chooses the tenant"
    )
    if not found.keys:
        write("It has no key")
        return
    table = plain_table("Key", "Made", "Valid")
    for key in found.keys:
        until = f"until {key.valid_until:%Y-%m-%d %H:%M %Z}" if key.valid_until else "yes"
        table.add_row(key.id, f"{key.created_at:%Y-%m-%d}", until if key.valid else "no")
    console.print(table)


@app.command()
def rotate(
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file", help="Where to write it; default: CONTEXT_KEY_FILE.", dir_okay=False
        ),
    ] = None,
    previous_for: Annotated[
        float | None,
        typer.Option(
            "--previous-for",
            metavar="HOURS",
            min=0,
            help="How long the keys before stay valid; default: until `context forget`.",
        ),
    ] = None,
) -> None:
    """Make a key, which is valid at once beside the one before, and write it to a file."""
    file = key_file or Settings().context_key_file
    if file is None:
        raise typer.BadParameter("expected --key-file or CONTEXT_KEY_FILE, found neither")
    hours = None if previous_for is None else datetime.timedelta(hours=previous_for)
    with maintained_database() as engine:
        key = context.rotate(engine, file, previous_for=hours)
        with engine.connect() as connection:
            others = [one.id for one in context.read(connection).valid if one.id != key.id]
    write(f"Made the key {key.id}: {file}, which applications name by CONTEXT_KEY_FILE")
    if others:
        write(f"Valid besides: {', '.join(others)}")


@app.command()
def forget(key: Annotated[str, typer.Argument(help="Its id, as `context status` shows.")]) -> None:
    """Take no token of a key any more, at once."""
    with maintained_database() as engine:
        context.forget(engine, key)
    write(f"The key {key} is gone")


@app.command()
def sign() -> None:
    """Take a tenant with a token only, at once and for every connection."""
    with maintained_database() as engine, engine.begin() as connection:
        context.sign(connection)
    write("The database is signed: applications need CONTEXT_KEY_FILE")


@app.command()
def plain() -> None:
    """Take the tenant that app.tenant_id names, at once and for every connection."""
    with maintained_database() as engine, engine.begin() as connection:
        context.plain(connection)
    write("The database is plain: app.tenant_id chooses the tenant")
