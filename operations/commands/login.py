"""``operations login create | rotate | list``: how programs log in."""

from __future__ import annotations

import typer
from sqlalchemy import URL

from database.roles import timeouts
from database.settings import Settings, application_url, migration_url
from models.shared.roles import ROLE_NAMES
from operations.access import logins
from operations.console import console, plain_table, write
from operations.owner import owner_engine

app = typer.Typer(help="Manage the login roles of programs.", no_args_is_help=True)

_NAME = typer.Argument(..., help="The name that the program logs in with.")
_UNTIL = typer.Option(
    None, "--valid-until", help="Date or time in ISO 8601 (UTC without an offset); default: no end."
)


@app.command()
def create(
    name: str = _NAME,
    role: str = typer.Option(..., "--role", help=f"One of {', '.join(ROLE_NAMES)}."),
    valid_until: str | None = _UNTIL,
    connection_limit: int | None = typer.Option(
        None, "--connection-limit", help="Sessions at the same time; default: no limit."
    ),
) -> None:
    """Create a login with exactly one role and a generated password, shown once."""
    until = logins.moment(valid_until) if valid_until else None
    with owner_engine() as engine:
        credentials = logins.create(
            engine, name, role, valid_until=until, connection_limit=connection_limit
        )
    write(f"Created the login {credentials.name}")
    _write_credentials(credentials)


@app.command()
def rotate(name: str = _NAME, valid_until: str | None = _UNTIL) -> None:
    """Give a login a new password, shown once; the old one stops working at once."""
    until = logins.moment(valid_until) if valid_until else None
    with owner_engine() as engine:
        credentials = logins.rotate(engine, name, valid_until=until)
    write(f"The login {credentials.name} has a new password")
    if credentials.connections:
        write(f"Its {credentials.connections} open sessions continue until they end.")
    _write_credentials(credentials)


@app.command("list")
def list_logins() -> None:
    """List the logins that have a role of the project."""
    with owner_engine() as engine:
        found = logins.listed(engine)
    if not found:
        write("No login yet; create one: operations login create NAME --role fleet_app")
        return
    table = plain_table("Login", "Role", "Valid until", "Limit", "Sessions")
    for login in found:
        table.add_row(
            login.name,
            ", ".join(login.roles),
            f"{login.valid_until:%Y-%m-%d %H:%M %Z}" if login.valid_until else "no end",
            "none" if login.connection_limit is None else str(login.connection_limit),
            str(login.connections),
        )
    console.print(table)


def _write_credentials(credentials: logins.Credentials) -> None:
    """To stdout and nowhere else."""
    limits = timeouts(credentials.role)
    listed = ", ".join(f"{what} {time}" for what, time in limits.items())
    write(f"Role      {credentials.role}")
    if credentials.valid_until:
        write(f"Until     {credentials.valid_until:%Y-%m-%d %H:%M %Z}")
    write(f"Timeouts  {listed.replace('_', ' ')}")
    write(f"Password  {credentials.password}")
    write(f"URL       {credentials.url(_address())}")
    write("Neither is shown again: the server keeps only a hash (SCRAM-SHA-256).")


def _address() -> URL:
    """Where programs reach the database, through a pooler if DATABASE_URL names one."""
    settings = Settings()
    named = settings.database_url is not None or settings.migration_database_url is None
    return application_url(settings) if named else migration_url(settings)
