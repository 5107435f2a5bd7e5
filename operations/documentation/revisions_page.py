"""The page about revisions: number, title, and what each makes, read from its file."""

from __future__ import annotations

import ast
from collections import Counter

from database.migration.revisions import Revisions
from operations.documentation.markdown import code, page, table
from operations.text import count, enumeration

# Operations named one by one, by the noun under which they are listed.
_NAMED = {
    "create_schema": "schema",
    "create_table": "table",
    "create_view": "view",
    "create_function": "function",
    "create_hypertable": "hypertable",
    "create_rollup": "rollup",
    "rename_table": "renamed table",
    "drop_table": "dropped table",
    "drop_view": "dropped view",
    "drop_function": "dropped function",
    "drop_rollup": "dropped rollup",
}
# Operations on a column, whose first two arguments name it.
_COLUMNS = {
    "add_column": "column",
    "drop_column": "dropped column",
    "alter_column": "changed column",
    "alter_column_type": "changed column",
}
# The others are counted, except those that always come with a table.
_IMPLIED = {"set_row_level_security", "grant", "create_columnstore", "create_retention_policy", "f"}
# Of those, what a revision may consist of.
_ALONE = {"grant": "grant", "create_columnstore": "columnstore"}
_COUNTED = {
    "create_policy": "policy",
    "create_trigger": "trigger",
    "create_index": "index",
    "add_index": "index",
    "create_refresh_policy": "refresh",
    "set_schema": "move",
    "execute": "SQL statement",
}


def revisions_page(revisions: Revisions) -> str:
    """The page."""
    rows = []
    for revision, path in revisions.files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        title = (ast.get_docstring(tree) or "").split("\n")[0].strip().rstrip(".")
        rows.append((f"{code(revision)}", title, _made(tree)))
    intro = (
        "In the order in which they are applied. The table `schema_history` of a database records "
        "what was applied to it, when and by which login."
    )
    return page("Revisions", [intro, table(("Revision", "Title", "Makes"), rows)])


def _made(tree: ast.Module) -> str:
    """What upgrade() makes, in words."""
    named: dict[str, list[str]] = {}
    counted: Counter[str] = Counter()
    calls = _calls(tree)
    for verb, arguments in calls:
        if verb in _NAMED:
            named.setdefault(_NAMED[verb], []).append(arguments[0])
        elif verb in _COLUMNS:
            named.setdefault(_COLUMNS[verb], []).append(".".join(arguments[:2]))
        elif verb in _COUNTED:
            counted[_COUNTED[verb]] += 1
        elif verb not in _IMPLIED:
            counted[verb.replace("_", " ")] += 1
    if not named and not counted:
        counted.update(_ALONE[verb] for verb, _ in calls if verb in _ALONE)
    parts = []
    for noun, names in named.items():
        heading = count(len(names), noun).split(" ", 1)[1]
        parts.append(f"{heading} {enumeration([code(name) for name in dict.fromkeys(names)])}")
    parts += [count(number, noun) for noun, number in sorted(counted.items())]
    return "; ".join(parts)


def _calls(tree: ast.Module) -> list[tuple[str, list[str]]]:
    """(verb, text arguments) of every ``op.verb(…)`` in upgrade(), in order."""
    upgrade = next(
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "upgrade"
    )
    calls = [
        node
        for node in ast.walk(upgrade)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "op"
    ]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    found = []
    for node in calls:
        texts = [a.value for a in node.args if isinstance(a, ast.Constant)]
        found.append((node.func.attr, [str(text) for text in texts]))  # type: ignore[attr-defined]
    return found
