"""Revisions are read in a pull request: a table stands together with what belongs to it."""

from __future__ import annotations

import ast
import inspect
import statistics
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from alembic.operations import Operations

from ddl.base import State
from ddl.kinds import KINDS
from tests.support.commands import ROOT

MEAN_LINES = 310
"""Of a revision."""
MEDIAN_LINES = 25
"""From the end of a create_table to the last line of what belongs to the table."""

VERSIONS = sorted((ROOT / "alembic/versions").glob("*.py"))


def table_arguments() -> dict[str, int]:
    """Verb to the position of the table for which it creates something."""
    found = {"create_index": 1}
    for kind in KINDS:
        names = kind.state.positional
        of_table = [name for name in ("table", "on") if name in names]
        if not of_table and kind.dropped and not kind.relation and names == ("name",):
            of_table = ["name"]
        if kind.operation is not None and of_table:
            found[kind.operation.verbs[0]] = names.index(of_table[0])
    return found


TABLE_ARGUMENTS = table_arguments()


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every ``op.verb(…)`` of the upgrade, in order."""
    for function in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(function, ast.FunctionDef) and function.name == "upgrade":
            for statement in function.body:
                call = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    yield call.func.attr, call


def named(call: ast.Call, position: int) -> tuple[str, str] | None:
    """(schema, name) of the relation that a call names at ``position``."""
    schemas = [one.value for one in call.keywords if one.arg == "schema"]
    schema = ast.literal_eval(schemas[0]) if schemas else "public"
    argument = call.args[position] if position < len(call.args) else None
    return (schema, argument.value) if isinstance(argument, ast.Constant) else None


def distances() -> dict[str, int]:
    """Table to the number of lines from the end of its creation to the last that belongs to it."""
    found: dict[str, int] = {}
    for path in VERSIONS:
        created: dict[tuple[str, str] | None, int] = {}
        for verb, call in calls(path):
            if verb == "create_table":
                table = named(call, 0)
                assert table is not None
                created[table] = call.end_lineno or 0
                found[".".join(table)] = 0
            elif verb in TABLE_ARGUMENTS:
                table = named(call, TABLE_ARGUMENTS[verb])
                if table is not None and table in created:
                    found[".".join(table)] = (call.end_lineno or 0) - created[table]
    return found


def test_a_table_stays_together_with_what_belongs_to_it() -> None:
    assert (
        TABLE_ARGUMENTS.items()
        >= {
            "create_trigger": 1,
            "create_policy": 1,
            "set_row_level_security": 0,
            "grant": 0,
            "create_hypertable": 0,
        }.items()
    )
    found = distances()
    assert len(found) > 100
    median = statistics.median(found.values())
    farthest = sorted(found, key=found.__getitem__, reverse=True)[:10]
    assert median <= MEDIAN_LINES, (
        f"half of all tables: expected at most {MEDIAN_LINES} lines between the end of their"
        f" create_table and the last line of what belongs to them, found {median:g}; look at the"
        " order (ddl/plan.py) and the layout (ddl/source.py) of: "
        + ", ".join(f"{name} ({found[name]})" for name in farthest)
    )


def test_the_history_can_be_read() -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in VERSIONS}
    longest = sorted(lines, key=lines.__getitem__, reverse=True)[:5]
    mean = statistics.mean(lines.values())
    assert mean <= MEAN_LINES, (
        f"alembic/versions: expected at most {MEAN_LINES} lines on average, found {mean:.0f}; look"
        " at the layout (ddl/source.py) and at what is left out (ddl/shorten.py) in the longest: "
        + ", ".join(f"{name} ({lines[name]})" for name in longest)
    )


def explicit(state_type: type[State]) -> list[str]:
    return [one.name for one in fields(state_type) if "explicit" in one.metadata]


WITH_OPERATIONS = [
    pytest.param(kind.state, kind.operation.verbs, id=kind.name)
    for kind in KINDS
    if kind.operation is not None
]


FORMER = {("create_rollup", "indexes"), ("alter_rollup", "indexes")}
"""What older revisions leave out, by which they mean what TimescaleDB chose."""


@pytest.mark.parametrize(("state_type", "verbs"), WITH_OPERATIONS)
def test_what_a_revision_says_does_not_depend_on_our_defaults(
    state_type: type[State], verbs: tuple[str, str, str]
) -> None:
    """Where the default of a field is ours, a revision that leaves it out must not run."""
    creating, _, altering = verbs
    for verb in (creating, altering):
        if hasattr(Operations, verb):
            parameters = inspect.signature(getattr(Operations, verb)).parameters
            for name in explicit(state_type):
                assert name in parameters, f"op.{verb} takes no {name}"
                if (verb, name) in FORMER:
                    assert parameters[name].default is None
                    continue
                assert parameters[name].default is inspect.Parameter.empty, (
                    f"op.{verb}: expected no default for {name}, which is explicit() in"
                    f" {state_type.__name__}, found {parameters[name].default!r}"
                )


def test_these_fields_are_explicit() -> None:
    """What a wrong guess would make insecure, or lose, is among them."""
    found = {(kind.name, name) for kind in KINDS for name in explicit(kind.state)}
    assert found >= {
        ("function", "language"),
        ("row-level security", "enable"),
        ("row-level security", "force"),
        ("policy", "to"),
        ("policy", "command"),
        ("trigger", "timing"),
        ("hypertable", "chunk_interval"),
        ("columnstore", "after"),
        ("retention policy", "drop_after"),
        ("refresh policy", "every"),
    }
