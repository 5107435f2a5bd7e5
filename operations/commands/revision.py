"""``operations revision seal | lint``: the files of the revisions."""

from __future__ import annotations

import typer
from rich.console import Console

from operations.revisions import lint as linting
from operations.revisions.project import project_revisions

app = typer.Typer(help="Look after the revision files.", no_args_is_help=True)
console = Console()


@app.command()
def seal() -> None:
    """Record the newest revision in HEAD and CHECKSUMS, after it was edited."""
    revisions = project_revisions()
    sealed = revisions.seal()
    what = f"Sealed {', '.join(sealed)}" if sealed else "Every revision was sealed already"
    console.print(f"{what}; the head is {revisions.head or 'base'}", highlight=False)


@app.command()
def lint() -> None:
    """Check files against HEAD and CHECKSUMS, and the SQL of each revision for unsafe locks."""
    revisions = project_revisions()
    revisions.verify()
    found = linting.lint(revisions)
    for line in found:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if found:
        raise typer.Exit(1)
    console.print(f"{len(revisions.files)} revisions: sealed, and safe to deploy", highlight=False)
