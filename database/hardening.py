"""What PUBLIC may do by default with the server's own objects and extensions, and must not here.

By some functions a login disturbs or reads the sessions of others, or leaves something behind that
outlives its request. They belong to superusers, so only a superuser can take them from PUBLIC: an
upgrade by one does, and for any other owner `operations hardening` prints the script. These are
privileges of one database. Copies and dumps carry them; an update of an extension may undo them.

The same script deletes statistics that were collected before a revision said that there shall be
none (`models.shared.column_statistics`): the server leaves them, and only a superuser may delete.
And it makes the event trigger of `database.refused_ddl`.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from database import refused_ddl
from database.tenancy import TENANT_SCHEMAS
from ddl.sql import literal, send

OWNER = "pg_database_owner"
"""PostgreSQL's name for whoever owns the database."""

STATISTICS = "pg_read_all_stats"
"""The role of monitoring, which pg_monitor has, too."""


@dataclass(frozen=True)
class Guarded:
    """Functions that only ``keepers`` may call: a regular expression for their whole names."""

    functions: str
    keepers: tuple[str, ...]
    extension: str | None = None
    """Whose they are, in any schema; None: the server's own."""


GUARDED = (
    # Locks by number: tenants would wait for whoever takes the number that stands for them. To
    # give them up stays free, since every pool does that with connections that come back.
    Guarded(r"pg_(try_)?advisory_(xact_)?lock(_shared)?", (OWNER,)),
    # What a batch holds until it is stored (`database.ingest.steps`, `record_devices`).
    Guarded(r"pg_advisory_xact_lock(_shared)?", ("fleet_ingest",)),
    # Other sessions of the same login: their queries, locks and end.
    Guarded(
        r"pg_stat_get_\w+|pg_lock_status|pg_(safe_snapshot_)?blocking_pids"
        r"|pg_isolation_test_session_is_blocked",
        (OWNER, STATISTICS),
    ),
    Guarded(r"pg_(cancel|terminate)_backend", (OWNER, "pg_signal_backend")),
    Guarded(r"pg_stat_statements\w*", (OWNER, STATISTICS), extension="pg_stat_statements"),
    # Large objects belong to the login, and so to all of its tenants.
    Guarded(r"lo_\w+|loread|lowrite", (OWNER,)),
    # Background jobs run on when the request, and the session, have ended.
    Guarded(
        r"(\w+_)?(jobs?|policy|policies)(_\w+)?|\w+_background_workers",
        (OWNER,),
        extension="timescaledb",
    ),
    # Chunks are those of all tenants. Some of these functions ask nobody who they are: up to 2.28.3
    # any login drops a chunk by drop_chunk(), and ends the server by merge_chunks_concurrently().
    Guarded(r"(\w+_)?(chunks?|osm)(_\w+)?", (OWNER,), extension="timescaledb"),
    # Locks any table before it asks for the owner; and what ends the server, in the Apache edition.
    Guarded(r"create_hypertable|estimate_\w+", (OWNER,), extension="timescaledb"),
)

_LIST = ",\n    ".join(
    f"({literal(one.functions)}, '{{{','.join(one.keepers)}}}'::text[],"
    f" {literal(one.extension) if one.extension else 'NULL'})"
    for one in GUARDED
)
# What initdb and the extension gave to PUBLIC counts, so that nothing is granted that was theirs
# alone (lo_import). Functions of triggers are called by nobody.
_ROUTINES = f"""
WITH guarded (functions, keepers, extension) AS (VALUES
    {_LIST}
), routines AS (
    SELECT format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) AS name,
           g.keepers, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
      FROM guarded g JOIN pg_proc p ON p.proname ~ ('^(' || g.functions || ')$')
      JOIN pg_namespace n ON n.oid = p.pronamespace
      LEFT JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                           AND d.deptype = 'e'
      LEFT JOIN pg_extension e ON e.oid = d.refobjid
      LEFT JOIN pg_init_privs i ON i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid
     WHERE e.extname IS NOT DISTINCT FROM g.extension
       AND (e.extname IS NOT NULL OR n.nspname = 'pg_catalog')
       AND p.prorettype <> 'trigger'::regtype
       AND EXISTS (SELECT FROM aclexplode(coalesce(i.initprivs, acldefault('f', p.proowner))) a
                    WHERE a.grantee = 0)
)"""

# Whoever may change a relation may lock it: nobody could read the settings meanwhile. An UPDATE of
# them does what SET does.
_SETTINGS = "pg_catalog.pg_settings"
_SETTINGS_CHANGEABLE = f"""EXISTS (SELECT FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
                WHERE c.oid = '{_SETTINGS}'::regclass AND a.grantee = 0
                  AND a.privilege_type = 'UPDATE')"""

_SERIES = ", ".join(literal(schema) for schema in TENANT_SCHEMAS)
# Of a series and all of its chunks. The owner finds them in pg_stats, as a superuser does.
_STATISTICS = f"""
SELECT format('%s.%I', r.oid::regclass, a.attname) AS name,
       format('DELETE FROM pg_statistic k USING pg_attribute a'
              ' WHERE (a.attrelid, a.attnum) = (k.starelid, k.staattnum) AND a.attname = %L'
              ' AND (a.attrelid = %2$L::regclass OR a.attrelid IN (SELECT inhrelid FROM pg_inherits'
              ' WHERE inhparent = %2$L::regclass))', a.attname, r.oid::regclass) AS statement
  FROM pg_stats s
  JOIN pg_namespace n ON n.nspname = s.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
  LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
  JOIN pg_class r ON r.oid = coalesce(i.inhparent, c.oid)
                 AND r.relnamespace::regnamespace::text IN ({_SERIES})
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = s.attname AND a.attstattarget = 0
 GROUP BY r.oid, a.attname"""

_MISSING = f"""{_ROUTINES}
SELECT 'relation' AS kind, '{_SETTINGS}' AS name, 'no UPDATE for PUBLIC' AS expected,
       'UPDATE for PUBLIC' AS found, 'REVOKE UPDATE ON {_SETTINGS} FROM PUBLIC' AS statement
 WHERE {_SETTINGS_CHANGEABLE}
UNION ALL
SELECT DISTINCT 'routine', name, 'no EXECUTE for PUBLIC', 'EXECUTE for PUBLIC',
       format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', name)
  FROM routines WHERE EXISTS (SELECT FROM aclexplode(acl) a WHERE a.grantee = 0)
UNION ALL
SELECT 'routine', r.name, format('EXECUTE for %I', k.rolname), 'none',
       format('GRANT EXECUTE ON ROUTINE %s TO %I', r.name, k.rolname)
  FROM routines r JOIN pg_roles k ON k.rolname = ANY (r.keepers)
 WHERE NOT EXISTS (SELECT FROM aclexplode(r.acl) a WHERE a.grantee = k.oid)
UNION ALL
SELECT 'column', name, 'no statistics', 'statistics', statement FROM ({_STATISTICS}) AS kept
UNION ALL
{refused_ddl.MISSING}
 ORDER BY 2, 5"""

_UNDONE = f"""{_ROUTINES}
SELECT 'GRANT UPDATE ON {_SETTINGS} TO PUBLIC' AS statement WHERE NOT {_SETTINGS_CHANGEABLE}
UNION ALL
SELECT {literal(refused_ddl.REMOVAL)} WHERE {refused_ddl.LEFT}
UNION ALL
SELECT DISTINCT format('REVOKE EXECUTE ON ROUTINE %s FROM %I', r.name, k.rolname)
  FROM routines r JOIN pg_roles k ON k.rolname = ANY (r.keepers)
 WHERE EXISTS (SELECT FROM aclexplode(r.acl) a WHERE a.grantee = k.oid)
UNION ALL
SELECT DISTINCT format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', name) FROM routines
 WHERE NOT EXISTS (SELECT FROM aclexplode(acl) a WHERE a.grantee = 0)"""

_PIPE = "psql -1 -v ON_ERROR_STOP=1 SUPERUSER_URL"
COMMAND = f"python -m operations hardening | {_PIPE}"
UNDO_COMMAND = f"python -m operations hardening --undo | {_PIPE}"

_LOOP = """FOR one IN{query} LOOP
        EXECUTE one.statement;
    END LOOP;"""
_IS_SUPERUSER = "current_setting('is_superuser') = 'on'"

KEPT = " OR ".join(
    f"(b.rolname = {literal(keeper)} AND c.name ~ {literal(f'^({one.functions})$')})"
    for one in GUARDED
    for keeper in one.keepers
    if not keeper.startswith("pg_")
)
"""A condition: role ``b`` of ours is granted the function called ``c.name`` here."""


def script(*, undo: bool = False) -> str:
    """What a superuser runs in the database, as often as he likes; it changes what is missing.

    Args:
        undo: give back instead what CREATE DATABASE gives, for a database that the project leaves.
    """
    return _block(
        f"""IF NOT {_IS_SUPERUSER} THEN
        RAISE EXCEPTION 'expected a superuser, found %', current_user;
    END IF;
    {_LOOP.format(query=_UNDONE if undo else _MISSING)}"""
    )


def where_superuser() -> str:
    """The same for the end of every upgrade: any other role leaves it to `script`."""
    return _block(
        f"""IF NOT {_IS_SUPERUSER} THEN
        RETURN;
    END IF;
    {_LOOP.format(query=_MISSING)}"""
    )


def removal() -> str:
    """Back to what CREATE DATABASE gives, where a superuser takes the project away.

    Any other role is told how a superuser does it: its privileges also keep roles of ours.
    """
    return _block(
        f"""IF NOT {_IS_SUPERUSER} THEN
        IF EXISTS ({_UNDONE}) THEN
            RAISE WARNING 'what only a superuser did to database % stays, run: %',
                current_database(), {literal(UNDO_COMMAND)};
        END IF;
        RETURN;
    END IF;
    {_LOOP.format(query=_UNDONE)}"""
    )


def _block(body: str) -> str:
    return f"""DO $hardening$
DECLARE
    one record;
BEGIN
    {body}
END
$hardening$"""


@dataclass(frozen=True)
class Gap:
    """A function that the wrong roles may call, or the right ones may not, or the like."""

    kind: str
    """``routine``, ``relation``, ``column`` or ``event trigger``."""
    name: str
    expected: str
    found: str
    statement: str
    """What mends it, as a superuser."""

    @property
    def fix(self) -> str:
        """The statement, or the command that prints it: the line that a reader is given."""
        return COMMAND if "\n" in self.statement else self.statement

    def __str__(self) -> str:
        return (
            f"{self.name}: expected {self.expected}, found {self.found}; "
            f"run as a superuser: {self.fix}"
        )


def gaps(connection: Connection) -> list[Gap]:
    """What `script` would change in this database."""
    found = connection.execute(sa.text(_MISSING.replace(":", r"\:")))
    return [Gap(*row) for row in found]


def asked_for(found: list[Gap]) -> str:
    """What an owner is told who is no superuser."""
    return (
        f"{len(found)} privileges and the like by which a login disturbs or sees others are not "
        "as they should be: have a superuser run what `python -m operations hardening` prints"
    )


def apply(connection: Connection) -> None:
    """Close the gaps, where the connected role is a superuser."""
    send(connection, where_superuser())
