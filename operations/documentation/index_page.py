"""The index page, with links to all others."""

from __future__ import annotations

from collections import Counter

from ddl.kinds import KINDS
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.index import IndexState
from ddl.kinds.table import TableState
from ddl.rollups import RollupState
from operations.documentation.domain_page import counted
from operations.documentation.facts import BOOKKEEPING, Facts
from operations.documentation.markdown import code, page, prose, table
from operations.text import count

_REST = """\
- [Isolation inventory](isolation.md): the rows of every table and view that each role reaches.
- [Functions](functions.md): what services call, and what triggers do.
- [Revisions](revisions.md): what each revision makes, one line each."""


def index_page(facts: Facts) -> str:
    """The page."""
    domains = sorted({facts.domains[key] for key in facts.tables})
    rows = [
        (
            f"[{domain.capitalize()}]({domain}.md)",
            counted(facts, domain),
            prose(facts.docstring(f"models.{domain}")),
        )
        for domain in domains
    ]
    kept = [(code(name), text) for name, text in BOOKKEEPING.items()]
    parts = [
        _summary(facts, len(domains)),
        table(("Domain", "Has", "About"), rows),
        _REST,
        "## Bookkeeping",
        "Tables of the tools, which the models do not declare:",
        table(("Table", "Holds"), kept),
    ]
    if facts.undeclared:
        names = [".".join(key) for key in facts.undeclared]
        comments = [prose(facts.catalog.of(TableState)[key].comment) for key in facts.undeclared]
        found = [(code(name), text) for name, text in zip(names, comments, strict=True)]
        parts += ["## Not declared by the models", table(("Table", "Holds"), found)]
    return page("The schema", parts)


_NAMED = {
    *("schema", "table", "column", "constraint", "index", "grant", "row-level security"),
    *("hypertable", "columnstore", "retention policy", "rollup", "refresh policy", "kept history"),
    *("unmanaged", "unmanaged in the database"),
}
"""Kinds that the summary names itself, that belong to a table, or that no model declares."""


def _summary(facts: Facts, domains: int) -> str:
    catalog = facts.catalog
    scopes = Counter(facts.scope(key) for key in facts.tables)
    indexes = len(catalog.of(IndexState))
    own = [
        count(len(catalog.of(kind.state)), kind.name)
        for kind in KINDS
        if kind.name not in _NAMED and catalog.of(kind.state)
    ]
    return (
        f"{count(len(facts.tables), 'table')} in {count(domains, 'domain')}: {scopes['tenant']} "
        f"hold the rows of tenants, {scopes['global']} are read by all of them, "
        f"{scopes['private']} only by the roles named. {len(catalog.of(HypertableState))} are "
        f"hypertables, with {count(len(catalog.of(RollupState)), 'rollup')}. Beside them "
        f"{', '.join(own)}, {count(indexes, 'index')} and "
        f"{count(len(facts.foreign_keys), 'foreign key')}."
    )
