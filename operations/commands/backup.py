"""``operations backup | backups | restore | drill``: the copies of a database."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from database.settings import Settings, backup_url
from operations.backups import folder as backup_folder
from operations.backups.creation import create as create_backup
from operations.backups.drill import drill as run_drill
from operations.backups.drill import write_report
from operations.backups.folder import Backup
from operations.backups.manifest import BackupError, verify_files
from operations.backups.restoration import restore as restore_backup
from operations.console import console, plain_table, write, write_json
from operations.owner import backup_engine
from operations.text import count

app = typer.Typer()
backups = typer.Typer(help="List backups, and read them in full.")

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where backups are; default: BACKUP_DIRECTORY."),
]
Identity = Annotated[
    Path | None, typer.Option("--identity", help="The file with the key, of an age backup.")
]


def _folder(given: Path | None) -> Path:
    return (given or Settings().backup_directory).resolve()


@app.command()
def backup(
    folder: Folder = None,
    keep_days: Annotated[
        int, typer.Option("--keep-days", min=0, help="Delete backups that are older.")
    ] = 14,
    keep_copies: Annotated[
        int, typer.Option("--keep-copies", min=1, help="But keep so many, however old.")
    ] = 3,
    checksums: Annotated[
        bool,
        typer.Option(help="Of all rows, for restore and drill to compare; else their number."),
    ] = True,
) -> None:
    """Back the database up, read the backup in full, and delete old ones.

    Nothing that is not whole looks like a backup. The newest one is never deleted.
    """
    where = _folder(folder)
    with backup_engine() as engine, _progress() as show:
        made = create_backup(
            engine,
            where,
            checksums=checksums,
            encrypt=Settings().backup_encryption,
            on_progress=show,
        )
    manifest = made.manifest
    write(
        f"Backup {made.name} in {where}: {size(manifest.bytes)} of {size(manifest.database_bytes)},"
        f" {count(len(manifest.inventory['rows']), 'relation')}, {manifest.seconds:,.1f} s"
    )
    good, bad = backup_folder.backups(where)
    old = backup_folder.superfluous(
        good, made, days=keep_days, copies=keep_copies, now=datetime.datetime.now(datetime.UTC)
    )
    backup_folder.remove(where, old)
    for one in old:
        write(f"Deleted {one.name}, older than {count(keep_days, 'day')}")
    for other in bad:
        write(f"problem: {other.problem}")


@backups.command("list")
def list_backups(folder: Folder = None) -> None:
    """List the backups of a folder, the newest first, and what only looks like one."""
    where = _folder(folder)
    good, bad = backup_folder.backups(where)
    if good:
        table = plain_table("Backup", "Database", "Server", "Revision", "Size", "Encrypted")
        for one in good:
            server = one.manifest.server
            with_extension = f" TimescaleDB {server.timescaledb}" if server.timescaledb else ""
            table.add_row(
                one.name,
                one.manifest.database,
                f"{server.version}{with_extension}",
                one.manifest.revision or "none",
                size(one.manifest.bytes),
                one.manifest.encryption or "no",
            )
        console.print(table)
    else:
        write(f"No backup in {where}; make one: python -m operations backup")
    for other in bad:
        write(f"problem: {other.problem}")
    if bad:
        raise typer.Exit(1)


@backups.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[BACKUP]…", help="Default: all.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Read backups in full and compare them with their checksums; exit code 1 if one is damaged."""
    where = _folder(folder)
    good, bad = backup_folder.backups(where)
    problems = [one.problem for one in bad]
    if names:
        good, problems = [backup_folder.find(where, name, "") for name in names], []
    for one in good:
        try:
            verify_files(one.folder, one.manifest)
        except BackupError as error:
            problems.append(str(error))
        else:
            write(f"{one.name}: as it was written, {size(one.manifest.bytes)}")
    for problem in problems:
        write(f"problem: {problem}")
    if problems:
        raise typer.Exit(1)


@app.command()
def restore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[BACKUP]", help="Name or path; default: the newest."),
    ] = None,
    folder: Folder = None,
    as_name: Annotated[
        str | None,
        typer.Option("--as", metavar="DATABASE", help="Default: that of the URL."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a database, which is kept.")
    ] = False,
    end_sessions: Annotated[
        bool, typer.Option("--end-sessions", help="Of whoever is connected to that.")
    ] = False,
    identity: Identity = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Restore a backup, compare all of it with what was saved, and only then put it in place.

    Roles that are missing are made. Jobs of TimescaleDB that ran then run again at the end:
    retention deletes what has become too old since.
    """
    database = str(backup_url().database)
    chosen = backup_folder.find(_folder(folder), name, database)
    target = as_name or database
    write(f"Backup {chosen.name}: {_said(chosen)}")
    if replace and not yes:
        typer.confirm(
            f"Put it in the place of database {target}, which is kept under another name?",
            abort=True,
        )
    with _progress() as show:
        restored = restore_backup(
            chosen,
            target,
            replace=replace,
            end_sessions=end_sessions,
            identity=identity,
            on_progress=show,
        )
    write(f"Database {restored.name}: {_equal(restored.compared)}")
    if restored.aside:
        write(f"The former one is {restored.aside}; once it is not needed: dropdb {restored.aside}")
    for login in restored.without_password:
        write(f"Login {login} has no password: python -m operations login rotate {login}")
    write("Look at it: python -m operations verify")


@app.command()
def drill(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[BACKUP]", help="Name or path; default: the newest."),
    ] = None,
    folder: Folder = None,
    identity: Identity = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Restore a backup into a database of its own, compare and verify it, and drop it.

    For a scheduler: exit code 1 where anything differs. The report stays beside the backups.
    """
    where = _folder(folder)
    chosen = backup_folder.find(where, name, str(backup_url().database))
    with _progress(quiet=as_json) as show:
        found = run_drill(chosen, identity=identity, on_progress=show)
    report = write_report(where, found)
    if as_json:
        write_json(found.as_dict())
    else:
        write(f"Backup {chosen.name}: {_said(chosen)}")
        for deviation in found.deviations:
            write(f"differs: {deviation}")
        for one in found.findings:
            write(f"verify: {one.part}: {one.object}: {one.text}")
        if found.ok:
            write(f"Restored in {found.seconds:,.1f} s: {_equal(found.compared)}, and verified")
        else:
            differences = count(len(found.deviations), "difference")
            write(f"Not good: {differences}, {count(len(found.findings), 'finding')}")
        write(f"Report {report}")
    if not found.ok:
        raise typer.Exit(1)


def _said(chosen: Backup) -> str:
    manifest = chosen.manifest
    return (
        f"{manifest.database} of {manifest.made_at:%Y-%m-%d %H:%M} UTC, PostgreSQL "
        f"{manifest.server.version}, revision {manifest.revision}, {size(manifest.bytes)}"
    )


def _equal(compared: bool) -> str:
    if compared:
        return "rows, definitions, privileges, chunks and jobs are equal to those that were saved"
    return (
        "rows, chunks and jobs are equal to those that were saved (definitions are spelled "
        "otherwise by another version of PostgreSQL)"
    )


def size(number: int) -> str:
    """``16.2 MB``."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


@contextmanager
def _progress(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task("Starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show
