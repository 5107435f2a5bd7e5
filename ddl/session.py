"""The settings of a session on which what is read and written depends.

A database, a role or a connection string may set any of them. Here they have the values that this
package counts on, so that a definition is read, written and compared alike everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Connection

from ddl import sql

FIXED = {
    # The server spells the values in a definition as these say; intervals, moments, floats, bytes.
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    # Reads `a.b` in a definition, and in what is generated from it, as names without quotes.
    "quote_all_identifiers": "off",
    # The same text is another literal, or another condition, where these differ.
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "xmloption": "content",
    "timezone_abbreviations": "Default",
    # What is created is checked, and so is what is written, by triggers and policies.
    "check_function_bodies": "on",
    "event_triggers": "on",
    "session_replication_role": "origin",
    "row_security": "on",
    "restrict_nonsystem_relation_kind": "",
    # A window function in a rollup is refused on the servers that allow it, since others do not.
    "timescaledb.enable_cagg_window_functions": "off",
    # Catalogs are read by queries of many branches, which take longer to compile than to run.
    "jit": "off",
    # A revision writes, sees what was committed before it, and takes the time that it needs.
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
"""Name, as the server spells it, to value. What a server does not have is left out."""

_WANTED = ", ".join(f"({sql.literal(name)}, {sql.literal(FIXED[name])})" for name in FIXED)
_DIFFERENT = (
    f"FROM (VALUES {_WANTED}) AS w (name, value) JOIN pg_settings s ON s.name = w.name"
    " WHERE s.setting <> w.value"
)
_SETTABLE = "has_parameter_privilege(s.name, 'SET')"


def fix(*, local: bool = False) -> str:
    """One statement that sets all of them, for the session or for a transaction (``local``).

    What only a superuser may set is left to one.
    """
    lasting = str(local).lower()
    return f"""DO $session$ BEGIN
    PERFORM set_config(s.name, w.value, {lasting})
       {_DIFFERENT} AND (s.context = 'user' OR {_SETTABLE});
END $session$"""


def wrong(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Those that are still different: name, expected and found value."""
    # Read-only once and for all is a property of a standby, and of a transaction that has begun.
    query = f"SELECT s.name, w.value, s.setting {_DIFFERENT} ORDER BY 1"
    for row in connection.execute(sa.text(query)):
        yield (row.name, row.value, row.setting)
