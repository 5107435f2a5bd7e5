"""One page per domain: its tables in sections, each section with a diagram."""

from __future__ import annotations

from ddl.kinds.hypertable import HypertableState
from ddl.kinds.table import TableState
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from operations.documentation import diagram, entries
from operations.documentation.facts import Facts
from operations.documentation.grouping import Section, sections
from operations.documentation.markdown import link, page, prose, table
from operations.text import count

READING = (
    "Diagrams show keys only. `tenant_id`, which leads every key of a tenant table, and references "
    "to `tenants` and `users` are left out; a box without columns is described elsewhere."
)


def domain_page(facts: Facts, domain: str) -> str:
    """The page of a domain."""
    listed = sections(facts, domain)
    name = f"{domain}.md"
    parts = [facts.docstring(f"models.{domain}"), _contents(facts, domain, listed)]
    bodies = [
        _section(facts, section, name, f"{number}. " if len(listed) > 1 else "")
        for number, section in enumerate(listed, start=1)
    ]
    if any("```mermaid" in body for body in bodies):
        parts.append(READING)
    return page(f"Domain {domain}", [*parts, *bodies])


def counted(facts: Facts, domain: str) -> str:
    """``25 tables, 2 of them hypertables; 2 rollups``."""
    tables = [key for key in facts.tables if facts.domains[key] == domain]
    hypertables = [key for key in tables if key in facts.catalog.of(HypertableState)]
    rollups = [key for key in facts.catalog.of(RollupState) if facts.domains.get(key) == domain]
    found = count(len(tables), "table")
    if hypertables:
        found += f", {len(hypertables)} of them {count(len(hypertables), 'hypertable')[2:].strip()}"
    return found + (f"; {count(len(rollups), 'rollup')}" if rollups else "")


def _contents(facts: Facts, domain: str, listed: list[Section]) -> str:
    rows = []
    for section in listed:
        for key in section.tables:
            comment = prose(facts.catalog.of(TableState)[key].comment)
            kind = "hypertable" if key in facts.catalog.of(HypertableState) else ""
            rows.append((link(key[1], "", key[1]), kind or facts.scope(key), comment))
            for rollup in facts.rollups_of(key):
                comment = prose(facts.catalog.of(RollupState)[rollup].comment)
                rows.append((link(rollup[1], "", rollup[1]), "rollup", comment))
        for view in facts.own_views(section.tables):
            comment = prose(facts.catalog.of(ViewState)[view].comment)
            rows.append((link(view[1], "", view[1]), "view", comment))
    return f"{counted(facts, domain)}.\n\n{table(('Table', 'Scope', 'Holds'), rows)}"


def _section(facts: Facts, section: Section, name: str, number: str) -> str:
    # With a number, since links to a table would lead to a heading of the same name.
    parts = [f"## {number}{section.title}"] if number else []
    if number:
        parts += [" ".join(facts.docstring(module) for module in section.modules)]
    parts.append(diagram.diagram(facts, section.tables))
    for key in section.tables:
        parts.append(entries.of_table(facts, key, name))
        parts += [entries.of_rollup(facts, rollup) for rollup in facts.rollups_of(key)]
    parts += [entries.of_view(facts, view) for view in facts.own_views(section.tables)]
    return "\n\n".join(part for part in parts if part)
