"""The sections of a domain: the modules of its models, small ones joined to related ones."""

from __future__ import annotations

from dataclasses import dataclass

from ddl.base import Key
from operations.documentation.facts import Facts
from operations.text import enumeration

LARGEST = 8
"""Tables in one diagram; with more, lines cross and text gets small."""

SMALL = 3
"""Sections with fewer tables are joined to a related one."""

JOINED = 6
"""The most tables of a joined section."""


@dataclass
class Section:
    """Tables that are read together, and the modules that declare them, in the same order."""

    modules: list[str]
    tables: list[Key]

    @property
    def title(self) -> str:
        """The names of the modules, as words."""
        names = list(dict.fromkeys(name.split(".")[-1].replace("_", " ") for name in self.modules))
        return enumeration(names).capitalize()


def sections(facts: Facts, domain: str) -> list[Section]:
    """The tables of ``domain`` in sections of at most LARGEST, those with most dependents first."""
    found: dict[str, Section] = {}
    for table in sorted(facts.tables, key=lambda key: facts.order[key]):
        module = facts.modules[table]
        if module.split(".")[1] == domain:
            found.setdefault(module, Section([module], [])).tables.append(table)
    listed = _joined(facts, list(found.values()))
    for section in listed:
        section.tables.sort(key=lambda key: _rank(facts, key))
        section.modules = list(dict.fromkeys(facts.modules[key] for key in section.tables))
    listed.sort(key=lambda section: _rank(facts, section.tables[0]))
    return [part for section in listed for part in _parted(facts, section)]


def _rank(facts: Facts, table: Key) -> tuple[int, int]:
    return -len(facts.referring(table)), facts.order[table]


def _joined(facts: Facts, listed: list[Section]) -> list[Section]:
    """Join each small section to the one with which it shares most references."""
    settled: list[Section] = []
    while waiting := [s for s in listed if len(s.tables) < SMALL and s not in settled]:
        smallest = min(waiting, key=lambda section: (len(section.tables), section.modules))
        related = [
            (weight, -len(other.tables), other.modules, other)
            for other in listed
            if other is not smallest and len(other.tables) + len(smallest.tables) <= JOINED
            if (weight := _references(facts, smallest, other))
        ]
        if not related:
            settled.append(smallest)
            continue
        other = max(related, key=lambda entry: entry[:3])[3]
        listed = [section for section in listed if section not in (smallest, other)]
        listed.append(
            Section([*other.modules, *smallest.modules], [*other.tables, *smallest.tables])
        )
    return listed


def _references(facts: Facts, one: Section, other: Section) -> int:
    pairs = {(a, b) for a in one.tables for b in other.tables}
    return sum(
        (key.table, key.target) in pairs or (key.target, key.table) in pairs
        for key in facts.foreign_keys
        if key.columns != ("tenant_id",)
    )


def _parted(facts: Facts, section: Section) -> list[Section]:
    """A section that is too large in parts of equal size, each with the modules of its tables."""
    if len(section.tables) <= LARGEST:
        return [section]
    parts = -(-len(section.tables) // LARGEST)
    size = -(-len(section.tables) // parts)
    found = []
    for start in range(0, len(section.tables), size):
        tables = section.tables[start : start + size]
        found.append(Section(list(dict.fromkeys(facts.modules[key] for key in tables)), tables))
    return found
