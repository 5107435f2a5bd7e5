"""The rules of the model for tables, keys and indexes, checked without a database.

Every test gathers what breaks its rule over all tables and names each object.
"""

from __future__ import annotations

import ast
import re

import pytest
from sqlalchemy import MetaData, Table, UniqueConstraint, Uuid
from sqlalchemy.exc import ArgumentError

import models
from models.shared.across import ACROSS
from models.shared.base import Base, TenantScoped, tenant_access
from tests.support.commands import ROOT
from tests.support.declared_tables import (
    TABLES,
    TENANT_HYPERTABLES,
    TENANT_TABLES,
    assert_none,
    foreign_keys,
    keys,
)

LOOKED_UP_BEFORE_THE_TENANT_IS_KNOWN = {
    "api_keys.key_hash",
    "device_api_tokens.client_id",
    "device_certificates.fingerprint_sha256",
    "invitations.token_hash",
}

ONE_ROW_EACH = {"ingest_rates"}
"""Tables with at most one row of a tenant."""


def test_every_table_has_a_domain_and_exactly_one_scope() -> None:
    """Summaries and the isolation inventory are derived from these."""
    assert set(models.DOMAINS) == set(models.SCOPES) == set(models.metadata.tables)
    mixins = ("TenantScoped", "TenantTimeSeries", "Catalogue", "Private")
    assert_none(
        [
            f"{mapper.class_.__name__}: expected one of {mixins}, found {found}"
            for mapper in Base.registry.mappers
            if len(found := [m.__name__ for m in mapper.class_.__mro__ if m.__name__ in mixins])
            != 1
        ]
    )


def test_columns_stand_before_table_args() -> None:
    """One order in models and docs, so that a reader finds things in the same place."""
    sources = {str(path): path.read_text() for path in (ROOT / "models").rglob("*.py")}
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        # What stands below alembic/versions is a part of a file.
        sources |= {
            f"{page} {number}": block
            for number, block in enumerate(blocks)
            if "__tablename__" in block
        }
    findings = []
    for name, source in sources.items():
        for found in ast.walk(ast.parse(source)):
            if isinstance(found, ast.ClassDef):
                lines = {
                    ast.unparse(
                        part.targets[0] if isinstance(part, ast.Assign) else part.target
                    ): part
                    for part in found.body
                    if isinstance(part, ast.Assign | ast.AnnAssign)
                }
                if "__table_args__" in lines and list(lines)[-1] != "__table_args__":
                    findings.append(f"{name} {found.name}: move __table_args__ to the end")
    assert_none(findings)


def test_tenant_id_is_first_in_every_tenant_table_and_its_key() -> None:
    findings = []
    for table in [*TENANT_TABLES, *TENANT_HYPERTABLES]:
        columns, key = list(table.columns), list(table.primary_key.columns)
        if columns[0].name != "tenant_id" or columns[0].nullable:
            findings.append(f"{table.name}: first column is {columns[0].name}")
        if not isinstance(columns[0].type, Uuid):
            findings.append(f"{table.name}: tenant_id is {columns[0].type}, expected uuid")
        if key[0].name != "tenant_id" or len(key) < 2 - (table.name in ONE_ROW_EACH):
            findings.append(f"{table.primary_key.name}: {[column.name for column in key]}")
    assert_none(findings)


def test_only_tenant_tables_call_a_column_tenant_id() -> None:
    """A table with tenant_id has row-level security; tenants itself is tested separately."""
    assert_none(
        [
            f"{table.name} has tenant_id but scope {models.SCOPES[table.key]}"
            for table in TABLES
            if "tenant_id" in table.columns and models.SCOPES[table.key] != "tenant"
            if table.name != "tenants"
        ]
    )


def test_unique_keys_lead_with_tenant_id() -> None:
    """A key across tenants would reveal to one tenant what another has."""
    findings, used = [], set()
    for table in [*TENANT_TABLES, *TENANT_HYPERTABLES]:
        unique = {str(index.name) for index in table.indexes if index.unique}
        unique |= {str(c.name) for c in table.constraints if isinstance(c, UniqueConstraint)}
        for name, columns, _ in keys(table):
            if name not in unique or columns[0] == "tenant_id":
                continue
            used.add(credential := f"{table.name}.{','.join(columns)}")
            if credential not in LOOKED_UP_BEFORE_THE_TENANT_IS_KNOWN:
                findings.append(f"{name}: {columns}")
    assert_none(findings)
    assert used == LOOKED_UP_BEFORE_THE_TENANT_IS_KNOWN


def test_foreign_keys_between_tenant_tables_carry_tenant_id() -> None:
    """PostgreSQL checks foreign keys without row-level security."""
    findings = []
    for table, key in foreign_keys():
        pairs = [(element.parent.name, element.column.name) for element in key.elements]
        target = key.referred_table
        if table in TENANT_TABLES and target in TENANT_TABLES:
            if pairs[0] != ("tenant_id", "tenant_id"):
                findings.append(f"{key.name}: {pairs}")
        elif table in TENANT_TABLES and len(pairs) != 1:
            findings.append(f"{key.name}: expected one column to {target.name}, found {pairs}")
    assert_none(findings)


def test_foreign_keys_have_the_types_of_what_they_refer_to() -> None:
    assert_none(
        [
            f"{key.name}: {element.parent.name} is {element.parent.type}, "
            f"{element.column} is {element.column.type}"
            for _, key in foreign_keys()
            for element in key.elements
            if repr(element.parent.type) != repr(element.column.type)
        ]
    )


def test_foreign_keys_have_an_index_that_leads_with_their_columns() -> None:
    """Otherwise deleting a parent row reads the whole child table."""
    findings = []
    for table, key in foreign_keys():
        own = set(key.column_keys)
        if not any(
            set(columns[: len(own)]) == own and predicate in ("", ACROSS)
            for _, columns, predicate in keys(table)
        ):
            findings.append(f"{key.name}: no index of {table.name} leads with {sorted(own)}")
    assert_none(findings)


def test_no_index_is_a_prefix_of_another() -> None:
    """The longer one serves every query of the shorter one, and each costs every write."""
    findings = []
    for table in TABLES:
        found = list(keys(table))
        findings += [
            f"{table.name}: {name} {columns} is a prefix of {other} {longer}"
            for name, columns, predicate in found
            for other, longer, condition in found
            if name != other and predicate == condition and longer[: len(columns)] == columns
        ]
    assert_none(findings)


def test_set_null_leaves_tenant_id_and_can_be_done() -> None:
    findings = []
    for table, key in foreign_keys():
        if not (key.ondelete or "").upper().startswith("SET NULL"):
            continue
        match = re.search(r"\((.*)\)", key.ondelete or "")
        columns = match[1].split(", ") if match else list(key.column_keys)
        findings += [
            f"{key.name}: ON DELETE {key.ondelete} would set {table.name}.{column}, NOT NULL"
            for column in columns
            if not table.columns[column].nullable
        ]
    assert_none(findings)


def test_rows_of_a_tenant_never_go_with_their_tenant() -> None:
    """Deleting a tenant is a command of many transactions, not a cascade."""
    assert_none(
        [
            f"{key.name}: ON DELETE {key.ondelete}"
            for _, key in foreign_keys()
            if key.referred_table.name == "tenants" and key.ondelete
        ]
    )


def test_names_are_lower_case_unique_and_short() -> None:
    """PostgreSQL cuts names at 63 bytes, silently."""
    names = [str(name) for table in TABLES for name, _, _ in keys(table)]
    names += [
        str(index.name)
        for table in TABLES
        for index in table.indexes
        if index.dialect_options["postgresql"]["using"]
    ]
    findings = [f"{name} names two indexes" for name in sorted(set(names)) if names.count(name) > 1]
    for table in TABLES:
        own = [str(constraint.name) for constraint in table.constraints]
        findings += [f"{table.name}: {name} twice" for name in set(own) if own.count(name) > 1]
        for name in [table.name, *own, *(column.name for column in table.columns), *names]:
            if len(name) > 63 or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                findings.append(f"{table.name}: {name}")
    assert_none(findings)


@pytest.mark.parametrize("attribute", ["__hidden_columns__", "__guarded_columns__"])
def test_a_hidden_or_guarded_column_must_exist(attribute: str) -> None:
    """A misspelled name would leave the column accessible."""
    table = Table("things", MetaData())
    cls = type("Things", (TenantScoped,), {attribute: ("no_such_column",)})
    with pytest.raises(ArgumentError, match="table things has no column no_such_column"):
        tenant_access(cls, table)
