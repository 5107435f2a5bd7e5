"""``operations revision release | lint``: the files of the revisions."""

from __future__ import annotations

import typer

from operations.console import write
from operations.revisions import lint as linting
from operations.revisions.project import project_revisions
from operations.text import count

app = typer.Typer(help="Release and lint the revision files.", no_args_is_help=True)


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
