"""The command line: all commands, and errors as one line of text."""

from __future__ import annotations

import logging
import sys

import typer
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from database.console import visible_lines
from database.errors import FleetSchemaError, server_message
from operations.commands import (
    admin,
    backup,
    context,
    convert,
    demo,
    docs,
    hardening,
    login,
    maintain,
    metrics,
    refresh,
    revision,
    samples,
    server,
    sql,
    tenant,
    verify,
)

INTERRUPTED = 130
"""The exit code after Ctrl-C, as of a shell."""

app = typer.Typer(
    help="Set up, try and run a fleetschema database.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(server.app)
app.add_typer(login.app, name="login")
app.add_typer(hardening.app)
app.add_typer(admin.app, name="admin")
app.add_typer(context.app, name="context")
app.add_typer(tenant.app, name="tenant")
app.add_typer(samples.app, name="samples")
app.add_typer(revision.app, name="revision")
app.add_typer(maintain.app)
app.add_typer(refresh.app)
app.add_typer(metrics.app, name="metrics")
app.add_typer(convert.app)
app.add_typer(verify.app)
app.add_typer(backup.app)
app.add_typer(backup.backups, name="backups")
app.add_typer(demo.app)
app.add_typer(sql.app)
app.add_typer(docs.app)


def main() -> None:
    """Run a command; an error that a person can fix gives one line and exit code 1."""
    # It warns of connections that it closes on Ctrl-C.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    try:
        app()
    except (FleetSchemaError, CommandError) as error:
        said = visible_lines(str(error), indent="  ")
        sys.exit(f"error: {said}")
    except DBAPIError as error:
        # The server went away, or a privilege is missing.
        said = visible_lines(server_message(error), indent="  ")
        sys.exit(f"error: the server rejected a statement: {said}")
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes an exit code of its own of Ctrl-C, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        sys.stderr.write("interrupted: what was done stays; start it again for the rest\n")
        sys.exit(INTERRUPTED)
