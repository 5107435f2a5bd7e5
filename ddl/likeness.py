"""How much two objects are alike that have different names."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

from ddl import sql
from ddl.kinds.function import FunctionState
from ddl.rename_operation import OF_TABLE
from ddl.select import parsed

SIMILAR = 2 / 3
"""The part of columns, or of a body, that must be the same for a rename to be likely."""


def selected(definition: str) -> set[tuple[str, str]]:
    """(name, expression) of each column of a query, whatever the table is called."""
    columns = parsed(definition).columns.items()
    return {(name, _QUALIFIER.sub("", sql.squeezed(text))) for name, text in columns}


WIDTH = re.compile(r"\btime_bucket\(\s*'([^']*)'")
_QUALIFIER = re.compile(rf"(?:{sql.IDENT})\.(?=[\w\"])")


def of_functions(before: FunctionState, after: FunctionState) -> str:
    """Why one function may be the other by another name; empty if nothing says so."""
    if (before.signature, before.returns) != (after.signature, after.returns):
        return ""
    words, others = (re.findall(r"\w+|[^\w\s]", state.body) for state in (before, after))
    alike = difflib.SequenceMatcher(None, words, others, autojunk=False).ratio()
    return "arguments, result and most of the body are the same" if alike >= SIMILAR else ""


def is_equal(before: Any, after: Any) -> bool:
    """True for two states that differ in nothing but their names and comments."""
    if type(before) is not type(after) or before.key == after.key:
        return False
    if before.kind in _BESIDE_TABLES and before.relation != after.relation:
        return False
    states = [state.called(after.name, after.schema) for state in (before, after)]
    if hasattr(after, "comment"):
        states = [dataclasses.replace(state, comment=None) for state in states]
    return bool(states[0] == states[1])


_BESIDE_TABLES = {*OF_TABLE, "index"}
