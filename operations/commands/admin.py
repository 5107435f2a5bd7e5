"""``operations admin create``: the operators of the platform."""

from __future__ import annotations

import typer

from operations.access import admins
from operations.access.accounts import Token
from operations.console import write
from operations.owner import owner_engine

app = typer.Typer(help="Manage the operators of the platform.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Manage the operators of the platform."""


@app.command()
def create(
    email: str = typer.Option(..., "--email", help="The address that the operator signs in with."),
    name: str | None = typer.Option(None, "--name", help="Display name, for a new account."),
    actor: str | None = typer.Option(
        None, "--actor", help="Name for the audit log; by default the user of this machine."
    ),
) -> None:
    """Create an operator, or issue a new one-time token to an existing one."""
    with owner_engine() as engine:
        admin = admins.create(engine, email, name=name, actor=actor)
    account = "Created the account" if admin.account.is_new else "Found the account"
    member = "now an operator of the platform" if admin.joined else "an operator already"
    write(f"{account} {admin.account.email}, {member}")
    write_token(admin.token)


def write_token(token: Token) -> None:
    """Print the token and what it is for."""
    write(f"Token   {token.text}")
    write(f"Expires {token.expires_at:%Y-%m-%d %H:%M %Z}; works once")
    write("It sets the password and is not shown again: only its hash is stored. Earlier tokens")
    write("that were not used are void.")
