"""``operations revision release | rebase | lint``: the files of the revisions."""

from __future__ import annotations

from typing import Annotated

import typer

from database.settings import PROJECT_ROOT
from operations.console import write, write_lines
from operations.revisions import lint as linting
from operations.revisions.project import project_revisions
from operations.revisions.rebase import rebase as rebase_revisions
from operations.text import count

app = typer.Typer(help="Release, renumber and lint the revision files.", no_args_is_help=True)


@app.command()
def release() -> None:
    """Lint the revisions that are not released yet and lock them: CHECKSUMS has their checksums."""
    revisions = project_revisions()
    revisions.verify()
    released = revisions.released()
    # A released revision can no longer say what it accepts.
    complaints = linting.lint(revisions, [one for one in revisions.files if one not in released])
    for line in complaints:
        write(line)
    if complaints:
        raise typer.Exit(1)
    locked = revisions.release()
    if not locked:
        write(f"Nothing to lock: all {len(revisions.files)} revisions are released")
        return
    numbers = locked[0] if len(locked) == 1 else f"{locked[0]} to {locked[-1]}"
    write(f"Locked {count(len(locked), 'revision')}: {numbers}")


@app.command()
def rebase(
    base: Annotated[
        str | None,
        typer.Option(help="The branch to follow; by default the one being merged, else main."),
    ] = None,
) -> None:
    """Renumber the unreleased revisions that only this branch has, after those of the other."""
    renumbered = rebase_revisions(PROJECT_ROOT / "alembic" / "versions", base)
    project_revisions().verify()
    if not renumbered:
        write("Nothing to renumber: the revisions follow one another")
        return
    for one in renumbered:
        write(f"{one.before.name} is now {one.after.name}")
    first, last = renumbered[0], renumbered[-1]
    before = int(first.numbers[0]) - 1
    write_lines(
        "Read them again: they now follow changes that they did not know.\n"
        "A database that has them by their old numbers goes back behind them (rows of your new "
        "tables are lost), and up in the order in which all others will:\n"
        f"  alembic stamp --purge {last.numbers[1]}"
        f" && alembic downgrade {int(first.numbers[1]) - 1:04d}"
        f" && alembic stamp --purge {f'{before:04d}' if before else 'base'}"
        " && alembic upgrade head && alembic check\n"
        "A database that has the other branch's: alembic upgrade head"
    )


@app.command()
def lint() -> None:
    """Check the files against HEAD and CHECKSUMS, and their SQL for locks on busy tables."""
    revisions = project_revisions()
    revisions.verify()
    complaints = linting.lint(revisions)
    for line in complaints:
        write(line)
    if complaints:
        raise typer.Exit(1)
    write(f"{count(len(revisions.files), 'revision')} checked: safe to deploy")
