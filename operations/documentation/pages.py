"""All pages of ``docs/schema``: generated, compared with the files, written."""

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


def target_pages(engine: Engine, revisions: Revisions) -> dict[str, str]:
    """File name to text, for the database of ``engine``."""
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


def stale(folder: Path, target: dict[str, str]) -> list[str]:
    """How the files of ``folder`` differ: a line per page, such as ``missing device.md``."""
    found = []
    for name, text in sorted(target.items()):
        path = folder / name
        if not path.exists():
            found.append(f"missing {name}")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"stale {name}")
    return found + [f"obsolete {path.name}" for path in _obsolete(folder, target)]


def update(folder: Path, target: dict[str, str]) -> list[str]:
    """Write the pages that differ, remove obsolete ones; returns a line per page that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, text in sorted(target.items()):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            found.append(f"wrote {name}")
    for path in _obsolete(folder, target):
        path.unlink()
        found.append(f"removed {path.name}")
    return found


def _obsolete(folder: Path, target: dict[str, str]) -> list[Path]:
    """Generated pages that are no longer in ``target``; pages written by hand stay."""
    return [
        path
        for path in sorted(folder.glob("*.md"))
        if path.name not in target and path.read_text(encoding="utf-8").startswith(GENERATED)
    ]
