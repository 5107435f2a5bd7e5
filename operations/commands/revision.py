"""``operations revision release | lint``: the files of the revisions."""

from __future__ import annotations

import typer
from rich.console import Console

from operations.revisions import lint as linting
from operations.revisions.project import project_revisions

app = typer.Typer(help="Release and lint the revision files.", no_args_is_help=True)
console = Console()


@app.command()
def release() -> None:
    """Lock every revision that is not released yet: its checksum goes into CHECKSUMS."""
    revisions = project_revisions()
    locked = revisions.release()
    if not locked:
        console.print(f"Nothing to lock: all {len(revisions.files)} revisions are released")
        return
    listed = locked[0] if len(locked) == 1 else f"{locked[0]} to {locked[-1]}"
    noun = "revision" if len(locked) == 1 else "revisions"
    console.print(f"Locked {len(locked)} {noun}: {listed}", highlight=False)


@app.command()
def lint() -> None:
    """Check the files against HEAD and CHECKSUMS, and their SQL for locks on busy tables."""
    revisions = project_revisions()
    revisions.verify()
    found = linting.lint(revisions)
    for line in found:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if found:
        raise typer.Exit(1)
    noun = "revision" if len(revisions.files) == 1 else "revisions"
    console.print(f"{len(revisions.files)} {noun} checked: safe to deploy", highlight=False)
