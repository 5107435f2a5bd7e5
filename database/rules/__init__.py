"""The rules of the house, a module each: they hold for every object of the database.

They are tested on every edition, and looked at when a revision is generated.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from sqlalchemy import Connection

from database.rules.rule import Finding, Rule
from ddl.catalog import rename
from ddl.sql import DEFAULT_SCHEMA, ident

__all__ = ["MODULES", "RULES", "Finding", "Rule", "broken_by_models"]

MODULES: list[ModuleType] = [
    import_module(f"{__name__}.{found.name}")
    for found in pkgutil.iter_modules(__path__)
    if found.name != "rule"
]
RULES: dict[str, Rule] = {module.__name__.rpartition(".")[2]: module.RULE for module in MODULES}


def broken_by_models(connection: Connection, names: Mapping[str, str]) -> list[str]:
    """What the models break and the database does not break already, a line for each object.

    Args:
        names: schema to the schema in which the models are built.
    """
    found: list[str] = []
    for rule in RULES.values():
        known = _messages(connection, rule, {name: name for name in names})
        found += sorted(_messages(connection, rule, names) - known)
    return found


def _messages(connection: Connection, rule: Rule, names: Mapping[str, str]) -> set[str]:
    # What is on the path is named without its schema.
    path = names.get(DEFAULT_SCHEMA, DEFAULT_SCHEMA)
    connection.exec_driver_sql(f"SET LOCAL search_path = {ident(path)}")
    back = {shadow: schema for schema, shadow in names.items() if shadow != schema}
    findings = rule.findings(connection, list(names.values()))
    return {str(rename(finding.message, back)) for finding in findings}
