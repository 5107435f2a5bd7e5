"""``operations login create | rotate | list``: how programs come in."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import URL

from database.settings import Settings, application_url, migration_url
from models.shared.roles import ROLE_NAMES
from operations.access import logins
from operations.owner import owner_engine

app = typer.Typer(help="Login roles of programs.", no_args_is_help=True)
console = Console()

_NAME = typer.Argument(..., help="The name that the program logs in with.")
_UNTIL = typer.Option(
    None, "--valid-until", help="ISO 8601 date or time (UTC without offset); no end if not said."
)


@app.command()
def create(
    name: str = _NAME,
    role: str = typer.Option(..., "--role", help=f"One of {', '.join(ROLE_NAMES)}."),
    valid_until: str | None = _UNTIL,
    connection_limit: int | None = typer.Option(
        None, "--connection-limit", help="Sessions at a time; no limit if not said."
    ),
) -> None:
    """Make a login with exactly one role and a generated password, shown once."""
    until = logins.moment(valid_until) if valid_until else None
    with owner_engine() as engine:
        made = logins.create(
            engine, name, role, valid_until=until, connection_limit=connection_limit
        )
    _say(f"Made the login {made.name}")
    _show(made)


@app.command()
def rotate(name: str = _NAME, valid_until: str | None = _UNTIL) -> None:
    """Give a login a new password, shown once; the old one is refused from now on."""
    until = logins.moment(valid_until) if valid_until else None
    with owner_engine() as engine:
        made = logins.rotate(engine, name, valid_until=until)
    _say(f"The login {made.name} has a new password")
    if made.connections:
        _say(f"Its {made.connections} open sessions go on until they end.")
    _show(made)


@app.command("list")
def list_logins() -> None:
    """List the logins that may act as roles of ours."""
    with owner_engine() as engine:
        found = logins.listed(engine)
    if not found:
        _say("No login yet: operations login create NAME --role fleet_app")
        return
    table = Table("Login", "Role", "Valid until", "Limit", "Sessions", box=None, pad_edge=False)
    for login in found:
        table.add_row(
            login.name,
            ", ".join(login.roles),
            f"{login.valid_until:%Y-%m-%d %H:%M %Z}" if login.valid_until else "no end",
            "none" if login.connection_limit is None else str(login.connection_limit),
            str(login.connections),
        )
    console.print(table)


def _show(made: logins.Credentials) -> None:
    """The credentials, on stdout and nowhere else."""
    timeouts = ", ".join(f"{what} {time}" for what, time in logins.TIMEOUTS[made.role].items())
    _say(f"Role      {made.role}")
    if made.valid_until:
        _say(f"Until     {made.valid_until:%Y-%m-%d %H:%M %Z}")
    _say(f"Timeouts  {timeouts.replace('_', ' ')}")
    _say(f"Password  {made.password}")
    _say(f"URL       {made.url(_address())}")
    _say("Neither is shown again: the server keeps only a hash (SCRAM-SHA-256).")


def _address() -> URL:
    """Where programs reach the database: as the settings say, through a pooler or not."""
    settings = Settings()
    named = settings.database_url is not None or settings.migration_database_url is None
    return application_url(settings) if named else migration_url(settings)


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)
