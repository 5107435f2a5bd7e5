"""All pages of ``docs/schema``: made, compared with the files, written."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from database.migration.revisions import Revisions
from operations.documentation import facts as reading
from operations.documentation.domain_page import domain_page
from operations.documentation.functions_page import functions_page
from operations.documentation.index_page import index_page
from operations.documentation.isolation_page import isolation_page
from operations.documentation.markdown import GENERATED
from operations.documentation.revisions_page import revisions_page


def pages(engine: Engine, revisions: Revisions) -> dict[str, str]:
    """File name to text, for the database behind ``engine``."""
    with engine.connect() as connection:
        facts = reading.read(connection)
    found = {
        "README.md": index_page(facts),
        "isolation.md": isolation_page(facts),
        "functions.md": functions_page(facts),
        "revisions.md": revisions_page(revisions),
    }
    for domain in sorted({facts.domains[key] for key in facts.tables}):
        found[f"{domain}.md"] = domain_page(facts, domain)
    return found


def stale(folder: Path, wanted: dict[str, str]) -> list[str]:
    """What is wrong with the files of ``folder``: a line per page, ``missing docs/x.md``."""
    found = []
    for name, text in sorted(wanted.items()):
        path = folder / name
        if not path.exists():
            found.append(f"missing {name}")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"stale {name}")
    return found + [f"of no use {path.name}" for path in _superfluous(folder, wanted)]


def write(folder: Path, wanted: dict[str, str]) -> list[str]:
    """Bring ``folder`` to ``wanted``; returns what was done, a line per page that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, text in sorted(wanted.items()):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            found.append(f"wrote {name}")
    for path in _superfluous(folder, wanted):
        path.unlink()
        found.append(f"removed {path.name}")
    return found


def _superfluous(folder: Path, wanted: dict[str, str]) -> list[Path]:
    """Pages that were generated once; what somebody wrote himself stays."""
    return [
        path
        for path in sorted(folder.glob("*.md"))
        if path.name not in wanted and path.read_text(encoding="utf-8").startswith(GENERATED)
    ]
