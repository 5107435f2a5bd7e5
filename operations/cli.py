"""The command line: the commands put together, and errors said in one line."""

from __future__ import annotations

import sys

import typer
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from database.errors import FleetSchemaError
from operations.commands import (
    admin,
    convert,
    demo,
    docs,
    login,
    maintain,
    revision,
    server,
    tenant,
)
from operations.errors import server_message

app = typer.Typer(
    help="Look after a fleetschema database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(server.app)
app.add_typer(login.app, name="login")
app.add_typer(admin.app, name="admin")
app.add_typer(tenant.app, name="tenant")
app.add_typer(revision.app, name="revision")
app.add_typer(maintain.app)
app.add_typer(convert.app)
app.add_typer(demo.app)
app.add_typer(docs.app)


def main() -> None:
    """Run a command; a person's mistake gives its text and exit code 1, never a traceback."""
    try:
        app()
    except (FleetSchemaError, CommandError) as error:
        sys.exit(f"error: {error}")
    except DBAPIError as error:
        # A server that goes away, or a right that is missing: its own words say it best.
        sys.exit(f"error: the server refused: {server_message(error)}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
