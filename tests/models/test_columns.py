"""The rules of the model for columns, checked without a database."""

from __future__ import annotations

import re

from sqlalchemy import (
    ARRAY,
    TIMESTAMP,
    BigInteger,
    Boolean,
    Date,
    Double,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import INET, JSONB, TSVECTOR

import models
from ddl import Declared
from ddl.kinds.grant import GrantState
from ddl.kinds.trigger import TriggerState
from ddl.sql import ident
from tests.support.declared_tables import TABLES, assert_none, checks, parts

PLAIN_TYPES = (
    BigInteger,
    Boolean,
    Date,
    Double,
    INET,
    Integer,
    Interval,
    JSONB,
    LargeBinary,
    Numeric,
    TIMESTAMP,
    TSVECTOR,
    Text,
    Uuid,
)


def test_columns_have_plain_types() -> None:
    """No native enums, no timestamps without zone, no varchar; money in integer cents."""
    findings = []
    for table in TABLES:
        for column in table.columns:
            kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
            if type(kind) not in PLAIN_TYPES:
                findings.append(f"{column}: {column.type!r}")
            if isinstance(kind, TIMESTAMP) and not kind.timezone:
                findings.append(f"{column}: timestamp without time zone")
            if column.name.endswith("_cents") and not isinstance(kind, Integer):
                findings.append(f"{column}: {column.type!r}, expected integer cents")
            if column.name.endswith("_at") and not isinstance(kind, TIMESTAMP):
                findings.append(f"{column}: {column.type!r}, expected a moment")
            if column.computed is not None and not column.computed.persisted:
                findings.append(f"{column}: generated, not stored; fails before PostgreSQL 18")
    assert_none(findings)


def test_json_columns_check_their_type() -> None:
    assert_none(
        [
            f"{column}: no CHECK on jsonb_typeof({column.name})"
            for table in TABLES
            for column in table.columns
            if isinstance(column.type, JSONB)
            if not any(
                f"jsonb_typeof({ident(column.name)})" in str(c.sqltext) for c in checks(table)
            )
        ]
    )


def test_defaults_are_allowed_by_their_list_of_values() -> None:
    findings = []
    for table in TABLES:
        for check in checks(table):
            match = re.fullmatch(r'"?(\w+)"? IN \((.*)\)', str(check.sqltext))
            if match is None:
                continue
            column, values = table.columns[match[1]], re.findall(r"'([^']*)'", match[2])
            findings += [f"{check.name}: {value!r}" for value in values if value != value.lower()]
            default = getattr(column.server_default, "arg", None)
            if default is not None and str(default) not in values:
                findings.append(f"{check.name}: default {str(default)!r} is none of {values}")
    assert_none(findings)


def test_status_columns_list_their_values() -> None:
    """Free text where a list was meant is how two services come to spell it differently."""
    assert_none(
        [
            f"{table.name}.status has no list of values"
            for table in TABLES
            if "status" in table.columns
            if not any(str(check.sqltext).startswith("status IN (") for check in checks(table))
        ]
    )


def test_no_secret_is_stored_in_plain_text() -> None:
    """A hash, a reference to a secret store, a few first characters, or nothing."""
    allowed = re.compile(
        r"_(hash|ref|prefix)$|^(credential_group|device_api_token)_id$"  # references to rows
    )
    assert_none(
        [
            f"{column} looks like a secret in clear"
            for table in TABLES
            for column in table.columns
            if re.search(r"password|secret|token|credential|api_key|private_key", column.name)
            if not allowed.search(column.name)
        ]
    )


def test_emails_of_accounts_are_unique_ignoring_case() -> None:
    index = next(i for i in models.metadata.tables["users"].indexes if i.unique)
    assert parts(index) == ["lower(email)"]


def test_rows_that_change_have_timestamps() -> None:
    """created_at and updated_at with the one trigger, or no UPDATE at all for the application."""
    declared = Declared.on(models.metadata)
    findings = []
    for table in TABLES:
        dated = {"created_at", "updated_at"} <= set(table.columns.keys())
        schema = table.schema or "public"
        trigger = declared.of(TriggerState).get((schema, table.name, "set_updated_at"))
        if dated and (trigger is None or trigger.function != "set_updated_at()"):
            findings.append(f"{table.name}: updated_at without trigger set_updated_at")
        granted = declared.of(GrantState).get((schema, table.name))
        grants = granted.privileges if granted is not None else frozenset()
        updating = {held.role for held in grants if held.name == "update"} - {"fleet_operator"}
        # A counter that is hit all the time; its window says when.
        if updating and not dated and table.name != "rate_limits":
            findings.append(f"{table.name}: {sorted(updating)} may update it, no updated_at")
    assert_none(findings)


def test_tables_and_columns_that_need_it_have_a_comment() -> None:
    """Free form, ranges and states cannot be understood from the name alone."""
    findings = [f"{table.name} has no comment" for table in TABLES if not table.comment]
    findings += [
        f"{column} has no comment"
        for table in TABLES
        for column in table.columns
        if not column.comment
        if isinstance(column.type, (ARRAY, JSONB, Numeric))
        or column.name.endswith("_hash")
        # An identifier without a foreign key says what it identifies.
        or (isinstance(column.type, Uuid) and not (column.primary_key or column.foreign_keys))
    ]
    assert_none(findings)
