"""What no model declares: indexes, chunks, the extension, jobs, rollups, logins, reference data."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import Connection

import models
from database import hardening as guarded
from database.migration import checks
from database.roles import missing as missing_roles
from database.roles import timeouts
from database.tenancy import OPERATOR
from ddl import shadow
from ddl.edition import COMMUNITY, POSTGRESQL, detect
from ddl.sql import ident, literal, role
from models.shared.base import TIMESERIES
from models.shared.roles import ROLE_NAMES
from operations.access import context
from operations.maintenance import policy_jobs
from operations.reference.catalogue import write_catalogues
from operations.verification.finding import Finding
from operations.verification.schema import OWNER, SUPERUSER

LATE = "1 day"
"""How far a rollup may be behind its refresh policy: the server may have been down."""

# Chunks have invalid indexes of their own; what a build left behind ends in _ccnew.
_INDEXES = """
SELECT i.indexrelid::regclass::text AS index, i.indrelid::regclass::text AS table,
       c.relname ~ '_cc(new|old)[0-9]*$' AS left_over
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND c.relkind = 'i'
   AND n.nspname = ANY (CAST(:schemas AS name[]) || CAST('_timescaledb_internal' AS name))
 ORDER BY 1
"""


def indexes(connection: Connection) -> Iterator[Finding]:
    """Indexes that a failed build left: they cost every write, and no query uses them."""
    values = {"schemas": list(shadow.schemas_of(models.metadata))}
    for row in connection.execute(sa.text(_INDEXES), values):
        fix = f"{'DROP' if row.left_over else 'REINDEX'} INDEX CONCURRENTLY {row.index}"
        yield Finding("indexes", f"index {row.index}", f"of {row.table} is invalid", fix, OWNER)


# A chunk gets the privileges and the owner of its hypertable when it is made.
_CHUNKS = """
WITH chunks AS (
    SELECT format('%I.%I', c.chunk_schema, c.chunk_name)::regclass AS oid,
           format('%I.%I', c.hypertable_schema, c.hypertable_name)::regclass AS of
      FROM timescaledb_information.chunks c
     WHERE c.hypertable_schema
           = ANY (CAST(:schemas AS name[]) || CAST('_timescaledb_internal' AS name))
), pairs AS (
    SELECT oid, of FROM chunks
    UNION ALL
    SELECT format('%I.%I', materialization_hypertable_schema,
                  materialization_hypertable_name)::regclass,
           format('%I.%I', view_schema, view_name)::regclass
      FROM timescaledb_information.continuous_aggregates
)
SELECT c.oid::regclass::text AS relation, t.oid::regclass::text AS of,
       a.privilege_type AS privilege,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END AS grantee
  FROM pairs p JOIN pg_class c ON c.oid = p.oid JOIN pg_class t ON t.oid = p.of
 CROSS JOIN LATERAL aclexplode(c.relacl) a
 WHERE a.grantee <> c.relowner
   AND NOT EXISTS (SELECT FROM aclexplode(t.relacl) h
                    WHERE (h.grantee, h.privilege_type) = (a.grantee, a.privilege_type))
 ORDER BY 1, 4, 3
"""


def chunks(connection: Connection) -> Iterator[Finding]:
    """Privileges on a chunk that its hypertable does not give: they read past the view."""
    if detect(connection) == POSTGRESQL:
        return
    values = {"schemas": list(shadow.schemas_of(models.metadata))}
    for row in connection.execute(sa.text(_CHUNKS), values):
        fix = f"REVOKE {row.privilege} ON {row.relation} FROM {role(row.grantee)}"
        text = f"expected the privileges of {row.of}, found {row.privilege} for {row.grantee}"
        yield Finding("chunks", f"chunk {row.relation}", text, fix, OWNER)


_EXTENSION = sa.text("""
SELECT e.extversion AS created, a.default_version AS installed
  FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname
 WHERE e.extname = 'timescaledb' AND a.default_version <> e.extversion
""")


def extension(connection: Connection) -> Iterator[Finding]:
    """The database has the version of TimescaleDB whose library the server has."""
    row = connection.execute(_EXTENSION).one_or_none()
    if row is not None:
        text = f"expected version {row.installed} of the server's files, found {row.created}"
        fix = "ALTER EXTENSION timescaledb UPDATE"
        text += ", and it must be the first statement of a session (psql -X)"
        yield Finding("edition", "extension timescaledb", text, fix, OWNER)


def jobs(connection: Connection) -> Iterator[Finding]:
    """Declared jobs that are overdue or failed; those that are not as declared differ in schema."""
    for one in policy_jobs.problems(connection):
        if not one.differs:
            text = one.found + (f"; {one.before} first" if one.before else "")
            by = SUPERUSER if "superuser" in one.by else OWNER
            yield Finding("jobs", f"{one.kind} {'.'.join(one.relation)}", text, one.fix, by)


# The newest bucket that is stored, beside the newest raw row that it should have.
_FRESHNESS = """
SELECT a.view_name AS name,
       greatest(_timescaledb_functions.to_timestamp(w.watermark), '0001-01-02Z') AS stored_until,
       now() - (j.config ->> 'end_offset')::interval - j.schedule_interval - interval '{late}'
           AS expected,
       a.hypertable_schema AS source_schema, a.hypertable_name AS source, d.column_name AS time
  FROM timescaledb_information.continuous_aggregates a
  JOIN _timescaledb_catalog.continuous_agg c
    ON (c.user_view_schema, c.user_view_name) = (a.view_schema, a.view_name)
  JOIN _timescaledb_catalog.continuous_aggs_watermark w ON w.mat_hypertable_id = c.mat_hypertable_id
  JOIN timescaledb_information.jobs j
    ON j.proc_name = 'policy_refresh_continuous_aggregate'
   AND (j.config ->> 'mat_hypertable_id')::int = c.mat_hypertable_id
  JOIN timescaledb_information.dimensions d ON d.dimension_number = 1
   AND (d.hypertable_schema, d.hypertable_name) = (a.hypertable_schema, a.hypertable_name)
 WHERE a.view_schema = :schema
"""


def rollups(connection: Connection) -> Iterator[Finding]:
    """Rollups whose newest bucket is older than their refresh policy promises."""
    if detect(connection) != COMMUNITY:
        return
    query = sa.text(_FRESHNESS.format(late=LATE))
    for row in connection.execute(query, {"schema": TIMESERIES}).all():
        source = f"{ident(row.source_schema)}.{ident(row.source)}"
        time = ident(row.time)
        waiting = connection.scalar(
            sa.text(
                f"SELECT min({time}) FROM {source} WHERE {time} < :expected AND {time} >= :stored"
            ),
            {"expected": row.expected, "stored": row.stored_until},
        )
        if waiting is not None:
            text = (
                f"expected buckets until {row.expected:%Y-%m-%d %H:%M %Z}, found them until "
                f"{row.stored_until:%Y-%m-%d %H:%M %Z}, and rows of {waiting:%Y-%m-%d %H:%M %Z}"
            )
            fix = "python -m operations maintain"
            yield Finding("rollups", f"rollup {TIMESERIES}.{row.name}", text, fix)


def hardening(connection: Connection) -> Iterator[Finding]:
    """What only a superuser can take from PUBLIC, delete, or make."""
    for gap in guarded.gaps(connection):
        text = f"expected {gap.expected}, found {gap.found}"
        yield Finding("hardening", f"{gap.kind} {gap.name}", text, gap.fix, SUPERUSER)


KEY_AGE = datetime.timedelta(days=90)
"""After which a key of the tenant context should be followed by another."""


def context_keys(connection: Connection) -> Iterator[Finding]:
    """A signed database has a valid key, and the newest is not old."""
    found = context.read(connection)
    fix = "python -m operations context rotate"
    if found.signed and not found.valid:
        text = "expected a valid key, found none: no tenant sees a row"
        yield Finding("context", "keys of the tenant context", text, fix)
        return
    made = max((key.created_at for key in found.valid), default=None)
    if made is not None and made < datetime.datetime.now(datetime.UTC) - KEY_AGE:
        text = f"expected one of the last {KEY_AGE.days} days, found the newest of {made:%Y-%m-%d}"
        yield Finding("context", "keys of the tenant context", text, fix)


_LOGINS = sa.text("""
SELECT r.rolname AS name, o.rolname AS role, r.rolvaliduntil < now() AS expired,
       to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS until,
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s
                  WHERE s.setrole = r.oid AND s.setdatabase = 0), '{}') AS settings,
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_database d
                        ON d.oid = s.setdatabase
                  WHERE s.setrole = r.oid AND d.datname = current_database()), '{}')
         AS settings_here, current_database() AS database
  FROM pg_roles r JOIN pg_auth_members m ON m.member = r.oid JOIN pg_roles o ON o.oid = m.roleid
 WHERE r.rolcanlogin AND NOT r.rolsuper AND o.rolname = ANY (CAST(:roles AS text[]))
   AND NOT m.admin_option AND NOT EXISTS (SELECT FROM pg_database WHERE datdba = r.oid)
   AND r.rolname <> current_user
 ORDER BY 1, 2
""")
_SHORTEST = datetime.timedelta(milliseconds=100)
"""A login may set its own timeouts: with shorter ones nothing that it is for comes to its end."""


def logins(connection: Connection) -> Iterator[Finding]:
    """Logins that have expired, or do not have such timeouts as `login create` gives."""
    for row in connection.execute(_LOGINS, {"roles": list(ROLE_NAMES)}):
        name, here = ident(row.name), f" IN DATABASE {ident(row.database)}"
        held = dict(one.split("=", 1) for one in row.settings)
        held_here = dict(one.split("=", 1) for one in row.settings_here)
        for what, time in timeouts(row.role).items():
            setting = f"{what}_timeout"
            for found, of, fix in (
                (held.get(setting, "none"), "", f"SET {setting} = {literal(time)}"),
                (held_here.get(setting, time), here, f"RESET {setting}"),
            ):
                if not _is_long(found):
                    text = f"expected a {setting} such as {time}, found {found}"
                    fix = f"ALTER ROLE {name}{of} {fix}"
                    yield Finding("roles", f"login {row.name}", text, fix, OWNER)
        given = {f"{what}_timeout" for what in timeouts(row.role)}
        for settings, of in ((held, ""), (held_here, here)):
            for setting, found in sorted(settings.items()):
                if _OF_TIME.fullmatch(setting) and setting not in given and not _is_long(found):
                    text = f"expected no {setting}, or a longer one, found {found}"
                    fix = f"ALTER ROLE {name}{of} RESET {setting}"
                    yield Finding("roles", f"login {row.name}", text, fix, OWNER)
        if row.expired:
            text = f"expected one that may log in, found that it expired at {row.until} UTC"
            fix = f"python -m operations login rotate {row.name} --valid-until …"
            yield Finding("roles", f"login {row.name}", text, fix)


_OF_TIME = re.compile(r"\w+_timeout|client_connection_check_interval")
"""Settings after whose time the server ends something, or looks whether it should."""
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}


def _is_long(timeout: str) -> bool:
    """Whether a timeout, as a setting has it, leaves time; 0 is somebody's choice of no end."""
    found = re.fullmatch(r"([\d.]+) *([a-z]*)", timeout)
    if found is None:
        return False
    seconds = float(found[1]) * _UNITS.get(found[2] or "ms", 0)
    return seconds == 0 or seconds >= _SHORTEST.total_seconds()


def reference_data(connection: Connection) -> Iterator[Finding]:
    """Rows that the reference data would insert, change or delete; nothing is kept."""
    if missing_roles(connection):
        return
    with connection.begin_nested() as transaction:
        connection.execute(
            sa.text(
                "SELECT set_config('role', :role, true), set_config('lock_timeout', '5s', true)"
            ),
            {"role": OPERATOR},
        )
        changed = write_catalogues(connection)
        transaction.rollback()
    for table, count in sorted(changed.items()):
        if count:
            text = f"expected the reference data, found {count} rows that differ"
            yield Finding(
                "reference data", f"table {table}", text, "python -m operations reference"
            )


def edition_of(connection: Connection) -> str:
    """For the report."""
    return str(checks.edition_of(connection))
