"""The isolation inventory: which rows of each table a role reaches, and with which privileges."""

from __future__ import annotations

import re

import models
from ddl.base import Declared, Key
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.policy import OWNER, PolicyState
from ddl.kinds.row_level_security import RowLevelSecurityState
from ddl.kinds.table import TableState
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from models.shared.access import BY_FUNCTION, FOR_FUNCTIONS, OF_TENANT
from models.shared.across import ACROSS
from models.shared.base import OWN_TENANT
from operations.documentation.facts import BOOKKEEPING, Facts
from operations.documentation.markdown import code, link, page, prose, table
from operations.documentation.readable_sql import expression

_LETTERS = {
    "select": "S",
    "insert": "I",
    "update": "U",
    "delete": "D",
    "truncate": "T",
    "references": "R",
    "trigger": "G",
    "maintain": "M",
}
_STANDARD = {
    "tenant_isolation": ("fleet_app", "all", OWN_TENANT, OWN_TENANT),
    "operator_all": ("fleet_operator", "all", "true", "true"),
    "operator_read": ("fleet_operator_read", "select", "true", ""),
    FOR_FUNCTIONS: (OWNER, "all", expression(BY_FUNCTION), expression(BY_FUNCTION)),
}
_OPERATIONS = (
    (("SELECT", "EXPLAIN", "COPY TO"), "S"),
    (("INSERT", "COPY FROM", "ON CONFLICT DO NOTHING", "MERGE INSERT"), "I"),
    (("INSERT RETURNING",), "S and I"),
    (("ON CONFLICT DO UPDATE",), "S and I and U"),
    (("UPDATE", "UPDATE RETURNING", "MERGE UPDATE"), "S and U"),
    (("FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR KEY SHARE"), "S and U"),
    (("UPDATE ALL",), "U"),
    (("DELETE", "DELETE RETURNING", "MERGE DELETE"), "S and D"),
    (("DELETE ALL",), "D"),
    (("LOCK ACCESS SHARE",), "all of S, or all of I, U or D"),
    (("LOCK ROW SHARE", "LOCK ROW EXCLUSIVE"), "all of I, U or D"),
    (
        (
            "LOCK SHARE UPDATE EXCLUSIVE",
            "LOCK SHARE",
            "LOCK SHARE ROW EXCLUSIVE",
            "LOCK EXCLUSIVE",
            "LOCK ACCESS EXCLUSIVE",
        ),
        "all of U or D",
    ),
    (("TRUNCATE",), "T"),
    (("REFERENCES",), "R"),
    (("MOVE TO ANOTHER TENANT",), "S and U of all rows"),
    (("ALTER",), "nothing suffices"),
)
_OF_OPERATIONS = """\
What the letters allow, on the rows before them. `tests/isolation/proof` has each role try each
operation on every relation, and finds exactly this. *All of* means without a star. Up to PostgreSQL
15, LOCK takes S for ACCESS SHARE and U or D for ROW SHARE. COPY FROM works with tables without
row-level security and views with triggers; MERGE INSERT into a view takes S, too."""
_BEHIND = """\
Behind a hypertable or rollup are chunks, compressed or not, and internal tables and views of
TimescaleDB. They have its privileges (what keeps compressed rows S alone) and no policy: so who
reaches **own** rows reaches none of them but by the view. What else the server and TimescaleDB have
may be read as PUBLIC may by default, shows a tenant nothing of another; nobody changes it."""
_LEGEND = """\
Read from the grants and policies of the database. In the tables below **S**, **I**, **U** and **D**
are SELECT, INSERT, UPDATE and DELETE; a letter with a star (`U*`) is a privilege on
[some columns](#some-columns-only) only. Before them is which rows a role reaches:

- **own**: those of the tenant of its transaction, by row-level security
  (`(tenant_id, true) = (SELECT current_tenant(), true)`) or by the condition of a tenant view;
- **all**: those of every tenant, or of a table whose rows belong to no tenant;
- **as its tables**: a view with the rights of the role that queries it shows what this role
  reaches in its tables;
- **some**: those that a [further policy](#further-policies) allows.

An empty cell is no privilege at all. Row-level security applies to the owner of the tables, too.
Policies of roles other than `fleet_app` may have the condition `across.tenants(tenant_id)`, which
is not shown here: it is true for every row, and lets them use indexes that tenants must not
(`docs/decisions/hidden-indexes.md`)."""


def isolation_page(facts: Facts) -> str:
    """The page."""
    parts = [_LEGEND, _roles(), "## Operations", _operations()]
    for domain in sorted(set(facts.domains.values())):
        parts += [f"## {domain.capitalize()}", _access(facts, domain)]
    if facts.undeclared:
        parts += ["## Not declared by the models", _listed(facts, facts.undeclared)]
    names = ", ".join(code(name) for name in BOOKKEEPING)
    parts += [
        "## Bookkeeping",
        f"{names} belong to the owner. No role of the project has a privilege on them.",
        "## Standard policies",
        _standard(facts),
        "## Further policies",
        _further(facts),
        "## With the rights of their owner",
        _as_owner(facts),
        "## Some columns only",
        _columns(facts),
        "## Schemas",
        _schemas(facts),
        "## Sequences",
        _sequences(facts),
    ]
    return page("Isolation inventory", parts)


def _roles() -> str:
    rows = [(code(role.name), prose(role.comment)) for role in models.ROLES]
    return table(("Role", "For"), rows)


def _access(facts: Facts, domain: str) -> str:
    keys = [key for key, found in facts.domains.items() if found == domain]
    exist = {
        *facts.catalog.of(TableState),
        *facts.catalog.of(RollupState),
        *facts.catalog.of(ViewState),
    }
    return _listed(facts, sorted((k for k in keys if k in exist), key=lambda k: (k[1], k[0])))


def _listed(facts: Facts, keys: list[Key]) -> str:
    names = [role.name for role in models.ROLES]
    rows = []
    for key in keys:
        name = _name(key)
        page = f"{facts.domains[key]}.md" if key in facts.domains else ""
        label = link(name, page, key[1]) if page else code(name)
        cells = [_cell(facts, key, role) for role in names]
        others = sorted(facts.grants(key).keys() - set(names))
        rows.append((label, _scope(facts, key), *cells, ", ".join(map(code, others))))
    return table(("Table", "Scope", *(code(name) for name in names), "Others"), rows)


def _name(key: Key) -> str:
    return key[1] if key[0] == "public" else ".".join(key)


def _scope(facts: Facts, key: Key) -> str:
    if key in facts.catalog.of(RollupState):
        return "rollup"
    if key in facts.catalog.of(ViewState):
        if facts.is_ingest_view(key):
            return "ingest view"
        return "tenant view" if facts.is_tenant_view(key) else "view"
    scope = facts.scope(key)
    return f"{scope} hypertable" if key in facts.catalog.of(HypertableState) else scope


def _cell(facts: Facts, key: Key, role: str) -> str:
    """``own S I U*``: privileges on the same rows together."""
    found: dict[str, list[str]] = {}
    held = facts.grants(key).get(role, {})
    for privilege, letter in _LETTERS.items():
        if privilege in held:
            star = "\\*" if held[privilege] else ""
            found.setdefault(_rows(facts, key, role, privilege), []).append(f"{letter}{star}")
    return ", ".join(f"{rows} {' '.join(letters)}".strip() for rows, letters in found.items())


def _rows(facts: Facts, key: Key, role: str, privilege: str) -> str:
    """Which rows: by the policies of the role for this command, else by the kind of relation."""
    if facts.is_ingest_view(key):
        return "judged"
    if key in facts.catalog.of(ViewState):
        state = facts.catalog.of(ViewState)[key]
        text = re.sub(r"\b\w+\.(?=tenant_id\b)", "", expression(state.definition))
        if state.security_invoker:
            return "as its tables"
        return "own" if OF_TENANT in text or OWN_TENANT in text else "all"
    if key not in facts.catalog.of(RowLevelSecurityState):
        return "all"
    permitting = []
    for policy in facts.on(PolicyState, key):
        assert isinstance(policy, PolicyState)
        if role in policy.to and policy.command in ("all", privilege):
            using, check = _condition(policy.using or "true"), _condition(policy.check or "")
            narrowed = not policy.permissive or check not in (using, "")
            spelled = check if check and privilege == "insert" else using
            permitting.append("some" if narrowed and spelled != OWN_TENANT else spelled)
    kinds = {
        "own" if text == OWN_TENANT else "all" if text == "true" else "some" for text in permitting
    }
    if not kinds:
        return "no rows"
    return kinds.pop() if len(kinds) == 1 else "some"


def _condition(text: str) -> str:
    """A condition for the reader, without what is true for every row (`models.shared.across`)."""
    spelled = expression(text)
    if spelled == ACROSS:
        return "true"
    return re.sub(rf"^\((.*)\) AND {re.escape(ACROSS)}$", r"\1", spelled)


def _operations() -> str:
    rows = [(", ".join(map(code, names)), needed) for names, needed in _OPERATIONS]
    return f"{_OF_OPERATIONS}\n\n{table(('Operation', 'Needs'), rows)}\n\n{_BEHIND}"


def _standard(facts: Facts) -> str:
    rows = []
    for name, (role, command, using, check) in _STANDARD.items():
        on = [state for state in facts.catalog.of(PolicyState).values() if _is_standard(state)]
        number = sum(state.name == name for state in on)
        rows.append((code(name), code(role), command, code(using), code(check), str(number)))
    head = ("Policy", "Role", "Command", "Rows", "Rows written", "Tables")
    secured = facts.catalog.of(RowLevelSecurityState).values()
    forced = sum(state.enable and state.force for state in secured)
    text = f"Row-level security is enabled and forced for {forced} tables."
    return f"{text}\n\n{table(head, rows)}"


def _is_standard(state: PolicyState) -> bool:
    found = (state.command, _condition(state.using or ""), _condition(state.check or ""))
    standard = _STANDARD.get(state.name)
    return (
        standard is not None
        and state.permissive
        and (state.to, *found)
        == (
            (standard[0],),
            *standard[1:],
        )
    )


def _further(facts: Facts) -> str:
    rows = [
        (
            code(state.table),
            code(state.name) + ("" if state.permissive else " (restrictive)"),
            ", ".join(code(role) for role in state.to),
            state.command,
            code(_condition(state.using or "")),
            code(_condition(state.check or "")),
        )
        for _, state in sorted(facts.catalog.of(PolicyState).items())
        if not _is_standard(state)
    ]
    text = (
        "A restrictive policy narrows what the other policies of the same role allow; all others "
        "widen it."
    )
    found = table(("Table", "Policy", "Role", "Command", "Rows", "Rows written"), rows)
    return f"{text}\n\n{found}" if rows else "None."


def _as_owner(facts: Facts) -> str:
    """Views and functions that run as their owner: a row for each reason."""
    reasons = Declared.on(models.metadata).reasons
    listed: dict[str, list[str]] = {}
    for view in facts.catalog.of(ViewState).values():
        if not view.security_invoker:
            reason = reasons.get((view.kind, view.declared_as), "")
            listed.setdefault(reason, []).append(code(view.name))
    for function in facts.catalog.of(FunctionState).values():
        if function.security_definer:
            reason = reasons.get((function.kind, function.declared_as), "")
            listed.setdefault(reason, []).append(code(f"{function.name}()"))
    rows = [(", ".join(sorted(names)), prose(reason)) for reason, names in sorted(listed.items())]
    text = (
        "The grants and policies of the role that uses one of these do not apply to what it reads: "
        "each role with a privilege on it sees all that it selects. The models say why."
    )
    return f"{text}\n\n{table(('View or function', 'Why'), rows)}" if rows else "None."


def _columns(facts: Facts) -> str:
    """Grants on columns: those that are left out, if they are fewer."""
    rows = []
    for key in sorted(facts.catalog.of(GrantState)):
        every = [column.name for column in facts.columns(key)] or [
            column.name for column in facts.view_columns.get(key, [])
        ]
        for role, held in sorted(facts.grants(key).items()):
            parts = []
            for privilege in _LETTERS:
                if columns := held.get(privilege):
                    parts.append(f"{privilege} {_spelled(columns, every)}")
            if parts:
                rows.append((code(_name(key)), code(role), "; ".join(parts)))
    return table(("Table", "Role", "Columns"), rows) or "None."


def _spelled(columns: set[str], every: list[str]) -> str:
    rest = [name for name in every if name not in columns]
    if len(rest) < len(columns):
        return f"all but {', '.join(map(code, rest))}"
    return ", ".join(code(name) for name in every if name in columns)


def _sequences(facts: Facts) -> str:
    rows = [
        (code(key[1].removeprefix("sequence ")), f"{found.name} to {code(found.role)}")
        for key, state in sorted(facts.catalog.of(GrantState).items())
        if key[1].startswith("sequence ")
        for found in sorted(state.privileges, key=lambda one: (one.role, one.name))
    ]
    return table(("Sequence", "Granted"), rows) or "No role has a privilege on a sequence."


def _schemas(facts: Facts) -> str:
    rows = []
    for key, state in sorted(facts.catalog.of(GrantState).items()):
        if key[1].startswith("schema "):
            held = sorted({(found.name, found.role) for found in state.privileges})
            names = ", ".join(f"{name} to {code(role)}" for name, role in held)
            rows.append((code(key[0]), names))
    return table(("Schema", "Granted"), rows)
