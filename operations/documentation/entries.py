"""The entry of a table, hypertable, rollup or view on a page."""

from __future__ import annotations

import re

import models
from ddl.base import Declared, Key
from ddl.kinds.index import IndexState
from ddl.kinds.table import TableState
from ddl.kinds.trigger import TriggerState
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from operations.documentation import hypertables
from operations.documentation.facts import Facts, ForeignKey
from operations.documentation.markdown import code, link, prose, table
from operations.documentation.readable_sql import expression, type_name

SCOPES = {
    "tenant": "each row belongs to a tenant",
    "global": "global, read by every tenant",
    "private": "global, only for named roles",
}

MANY = 20
"""Tables that refer to one; if there are more, only their number is given."""


def of_table(facts: Facts, key: Key, page: str) -> str:
    """The entry of a table; ``page`` is the file name of its page."""
    state = facts.catalog.of(TableState)[key]
    where = f"{facts.modules[key].replace('.', '/')}"
    facing = [SCOPES[facts.scope(key)], link("access", "isolation.md", facts.domains[key])]
    parts = [
        f"### {key[1]}",
        prose(state.comment),
        f"{facing[0].capitalize()} · {facing[1]} · {code(where)}",
        hypertables.of_hypertable(facts, key),
        _columns(facts, key),
        _rules(facts, key, page),
        _referring(facts, key, page),
    ]
    return "\n\n".join(part for part in parts if part)


def of_rollup(facts: Facts, key: Key) -> str:
    """The entry of a rollup."""
    state = facts.catalog.of(RollupState)[key]
    parts = [f"### {key[1]}", prose(state.comment), hypertables.of_rollup(facts, key)]
    return "\n\n".join(part for part in parts if part)


def of_view(facts: Facts, key: Key) -> str:
    """The entry of a view that is not a tenant view."""
    state = facts.catalog.of(ViewState)[key]
    rights = "the role that queries it" if state.security_invoker else "its owner"
    reason = Declared.on(models.metadata).reasons.get((state.kind, state.declared_as))
    reads = ", ".join(code(source[1]) for source in sorted(facts.sources(key)))
    option = f", with {state.check_option} check option" if state.check_option else ""
    columns = ", ".join(
        f"{code(column.name)} {type_name(column.type)}" for column in facts.view_columns[key]
    )
    return "\n\n".join(
        [
            f"### {key[1]}",
            prose(state.comment),
            f"View over {reads}, with the rights of {rights}{option}.",
            *([prose(reason)] if reason else []),
            f"Columns: {columns}.",
        ]
    )


def _columns(facts: Facts, key: Key) -> str:
    rows = []
    for column in facts.columns(key):
        default = expression(column.default) if column.default else ""
        if column.generated:
            default = f"= {expression(column.generated.rpartition(' ')[0])}"
        if column.identity:
            default = f"identity {column.identity.split(' START')[0].lower()}"
        kind = type_name(column.type)
        if column.collation:
            kind += f" collate {column.collation}"
        null = "" if column.not_null else "null"
        rows.append((code(column.name), kind, null, code(default), prose(column.comment)))
    return table(("Column", "Type", "Null", "Default", "Comment"), rows)


def _rules(facts: Facts, key: Key, page: str) -> str:
    """Keys, foreign keys, indexes, checks, triggers: kind, what, name."""
    rows = []
    for kind in ("PRIMARY KEY", "UNIQUE"):
        for state in facts.constraints(key, kind):
            rows.append((kind.lower(), code(_inside(state.definition)), code(state.name)))
    for reference in facts.references(key):
        rows.append(("foreign key", _reference(facts, reference, page), code(reference.name)))
    for _, index in sorted(facts.catalog.of(IndexState).items()):
        if (index.schema, index.table) == key:
            kind = "unique index" if index.definition.startswith("CREATE UNIQUE") else "index"
            rows.append((kind, _index(index), code(index.name)))
    for kind in ("EXCLUDE", "CHECK"):
        for state in facts.constraints(key, kind):
            condition = expression(state.definition.removeprefix("CHECK").removesuffix("NOT VALID"))
            validity = ", not validated" if state.definition.endswith("NOT VALID") else ""
            rows.append((f"{kind.lower()}{validity}", code(condition), code(state.name)))
    for trigger in facts.on(TriggerState, key):
        assert isinstance(trigger, TriggerState)
        rows.append(("trigger", _trigger(trigger), code(trigger.name)))
    return table(("Rule", "What", "Name"), rows)


def _inside(definition: str) -> str:
    """The columns of a key and its options (NULLS NOT DISTINCT, DEFERRABLE)."""
    match = re.fullmatch(r"(?:PRIMARY KEY|UNIQUE)([^(]*)\(([^)]*)\)(.*)", definition)
    assert match is not None, definition
    return f"{match[2]}{(match[1].rstrip() + match[3]).lower()}"


def _reference(facts: Facts, reference: ForeignKey, page: str) -> str:
    target = reference.target
    text = f"{code(', '.join(reference.columns))} → {_linked(facts, target, page)}"
    if reference.columns != reference.target_columns:
        text += f" {code(', '.join(reference.target_columns))}"
    action = re.sub(r"[A-Z]{2,}", lambda match: match[0].lower(), reference.action)
    return f"{text} {action}".rstrip()


def _linked(facts: Facts, key: Key, page: str) -> str:
    other = f"{facts.domains[key]}.md" if key in facts.domains else "README.md"
    return link(key[1], "" if other == page else other, key[1])


def _index(index: IndexState) -> str:
    match = re.fullmatch(r".* USING (\w+) (\(.*?\))( WHERE .*)?", index.definition)
    assert match is not None, index.definition
    method = "" if match[1] == "btree" else f"{match[1]} "
    condition = f" where {expression(match[3].removeprefix(' WHERE '))}" if match[3] else ""
    columns = expression(match[2]).removeprefix("(").removesuffix(")")
    return code(f"{method}{columns}{condition}")


def _trigger(trigger: TriggerState) -> str:
    once = "" if trigger.level == "row" else ", once a statement"
    deferred = ", at commit" if trigger.initially_deferred else ""
    when = f" when {code(expression(trigger.when))}" if trigger.when else ""
    name = re.sub(r"\(.*", "", expression(trigger.function))
    call = link(code(f"{name}()"), "functions.md", name)
    return f"{trigger.timing} {trigger.events}{once}{deferred}{when}: {call}"


def _referring(facts: Facts, key: Key, page: str) -> str:
    tables = [_linked(facts, table, page) for table in facts.referring(key)]
    if len(tables) > MANY:
        return f"Referred to by {len(tables)} tables."
    return f"Referred to by {', '.join(tables)}." if tables else ""
