"""``operations admin create``: the operators of the platform."""

from __future__ import annotations

import typer
from rich.console import Console

from operations.access import admins
from operations.access.accounts import Token
from operations.owner import owner_engine

app = typer.Typer(help="The operators of the platform.", no_args_is_help=True)
console = Console()


@app.callback()
def _group() -> None:
    """The operators of the platform."""


@app.command()
def create(
    email: str = typer.Option(..., "--email", help="The address that he signs in with."),
    name: str | None = typer.Option(None, "--name", help="Display name, for a new account."),
    actor: str | None = typer.Option(
        None, "--actor", help="Who does this, for the audit log; else the user of this machine."
    ),
) -> None:
    """Make an operator; again for the same address: a new one-time token."""
    with owner_engine() as engine:
        made = admins.create(engine, email, name=name, actor=actor)
    account = "Made the account" if made.account.made else "Found the account"
    member = "now an operator of the platform" if made.joined else "an operator already"
    say(f"{account} {made.account.email}, {member}")
    say_token(made.token)


def say(line: str) -> None:
    """One line as it stands, however long."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def say_token(token: Token) -> None:
    """The token, and what to do with it."""
    say(f"Token   {token.text}")
    say(f"Expires {token.expires_at:%Y-%m-%d %H:%M %Z}; works once")
    say("It sets the password and is not shown again: only its hash is stored. Any earlier one")
    say("that was not used is void.")
