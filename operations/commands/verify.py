"""``operations verify``: what a pipeline runs after the deploy."""

from __future__ import annotations

import typer

from database.errors import FleetSchemaError
from database.migration import preparation
from database.settings import Settings
from operations.access import context
from operations.console import write, write_json, write_lines
from operations.owner import maintained_database
from operations.text import count
from operations.verification import PARTS, Report, prepared, schema
from operations.verification import verify as run_verification
from operations.verification.server import edition_of

app = typer.Typer()


@app.command()
def verify(
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document instead."),
) -> None:
    """Verify that the database is as the code expects; exit code 1 and the fixes where not.

    Revision, models, roles and logins, indexes, chunks, jobs, rollups, reference data.
    """
    with maintained_database() as engine:
        report = run_verification(engine)
    if as_json:
        write_json(report.as_dict())
    else:
        _write(report)
    if report.findings:
        raise typer.Exit(1)


@app.command()
def mend(
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the SQL; change nothing."),
    accept_losses: bool = typer.Option(
        False, "--accept-losses", help="Also drop what the models do not have, with its rows."
    ),
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
) -> None:
    """Bring the schema back to the models, where somebody changed it by hand.

    Only at the head: what the models have gained since is a revision's. All of it is
    one transaction. No revision can be applied meanwhile.
    """
    with (
        maintained_database() as engine,
        prepared(engine) as connection,
        preparation.exclusive(connection, Settings()),
    ):
        for one in schema.revision(connection):
            raise FleetSchemaError(f"{one.object}: {one.text}: run: {one.fix}")
        script = schema.differing(connection)
        lost = schema.losses(connection, script)
        sql = schema.statements(script, edition_of(connection)).strip()
        if dry_run or not sql:
            write_lines(sql or "nothing to mend: the schema is as the models say")
            return
        for loss in lost:
            write(f"lost: {loss}")
        if lost and not accept_losses:
            raise FleetSchemaError(
                "nothing was changed: with --accept-losses what is named above is dropped; to keep"
                " it, declare it in a model"
            )
        # Nobody waits for locks of a transaction while a person reads.
        connection.rollback()
        write_lines(sql)
        if not yes:
            typer.confirm("Run this?", abort=True)
        schema.mend(connection, script)
        connection.commit()
        keys = context.read(connection)
        if "current_tenant()" in sql and keys.valid and not keys.signed:
            write("current_tenant() is plain now; was the database signed? Then run:")
            write("python -m operations context sign")
        write("done; look again: python -m operations verify")


def _write(report: Report) -> None:
    for one in report.findings:
        write(f"{one.part}: {one.object}: {one.text}")
        by = f" (as {one.by})" if one.by else ""
        write_lines(f"  fix{by}: " + one.fix.replace("\n", "\n    "))
    where = f"database {report.database}, edition {report.edition}"
    if report.skipped:
        write(f"not looked at, since the revision is another: {', '.join(report.skipped)}")
    if report.findings:
        write(f"{where}: {count(len(report.findings), 'finding')}")
    else:
        write(f"{where}: as expected ({', '.join(['revision', *PARTS])})")
