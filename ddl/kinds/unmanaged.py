"""What is found and no model can declare: named by the comparison, mended by hand.

Every other kind reads what it can declare. This one reads what is left, catalog by catalog: objects
of a schema of ours, objects of the database as a whole that reach into it, and owners. Nothing of
it gets an operation, since no revision could make it again; each line ends in the command that
mends it. What another tool keeps there is declared as :class:`Unmanaged`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import Declared, Identity, Key, State
from ddl.kind import Kind, always
from ddl.kinds.extension import ExtensionState
from ddl.plan import Phase, Plan

if TYPE_CHECKING:
    from ddl.changes import Changes

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnmanagedState(State):
    """One object, or one ``detail`` of it, that has no other kind.

    ``mend`` is the SQL that removes it, or brings ``detail`` from ``found`` to ``expected``.
    """

    kind: ClassVar[str] = "unmanaged"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "type", "name", "detail")

    schema: str = ""
    type: str = ""
    name: str = ""
    detail: str = ""
    of: str | None = None
    """The table or view of the schema without which it cannot exist."""
    expected: str | None = None
    found: str | None = None
    mend: str = field(default="", compare=False)

    @property
    def relation(self) -> Key | None:
        """The table or view that it belongs to."""
        return None if self.of is None else (self.schema, self.of)

    def title(self) -> str:
        """``rule silent on public.sites``, ``table public.sites owner``."""
        return f"{self.type} {self.name} {self.detail}".rstrip()

    def text(self) -> str:
        """Nothing is created after it."""
        return ""


@dataclass(frozen=True)
class UnmanagedInDatabaseState(UnmanagedState):
    """The same for what belongs to no schema."""

    kind: ClassVar[str] = "unmanaged in the database"


class Unmanaged:
    """Something in the database that another tool keeps: ``alembic check`` passes over it.

    ``Unmanaged("rule audit on public.sites", "made by the audit tool", metadata=metadata)``

    Args:
        name: the kind and the full name, as ``alembic check`` prints them; ``*`` stands for any
            text: ``"foreign table reporting.*"``.
        reason: why it is there, for the next reader.
    """

    def __init__(self, name: str, reason: str, *, metadata: MetaData) -> None:
        if not reason.strip():
            raise ArgumentError(f'Unmanaged("{name}"): expected a reason, found none')
        metadata.info.setdefault("unmanaged", {})[" ".join(name.split())] = reason


def accepted(metadata: MetaData, state: State) -> bool:
    """True for a declared extension, and for what is declared as kept by another tool."""
    if isinstance(state, UnmanagedState) and state.type == "extension":
        names = Declared.on(metadata).of(ExtensionState)
        if (sql.unquoted(state.name),) in names:
            return True
    patterns: Iterable[str] = metadata.info.get("unmanaged", ())
    title = state.title()
    # Brackets are part of names (public.code[]), not of patterns.
    return any(fnmatch.fnmatchcase(title, one.replace("[", "[[]")) for one in patterns)


# --- reflect ---------------------------------------------------------------------------------

# Who has to own what is ours: whoever runs the revisions, and so made Alembic's own table.
_OURS = """
ours AS (SELECT oid, nspname, nspowner FROM pg_namespace
          WHERE nspname = ANY (CAST(:schemas AS name[]))),
runner AS (SELECT r.oid, r.rolname FROM pg_roles r
            WHERE r.oid = coalesce((SELECT relowner FROM pg_class
                                     WHERE oid = to_regclass('public.alembic_version')),
                                   quote_ident(current_user)::regrole))
"""

# Of each catalog what no other kind reads. Types that come with a table or a range depend on it
# internally, and so does the rule of a view.
_OBJECTS = """
, objects (class, oid, namespace, relation, type) AS (
    SELECT 'pg_class'::regclass, oid, relnamespace, 0::oid, NULL FROM pg_class WHERE relkind = 'f'
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, 0, NULL
      FROM pg_proc WHERE prokind <> 'f'
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typnamespace, 0,
           CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range type'
                          WHEN 'c' THEN 'composite type' ELSE 'type' END
      FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
     WHERE coalesce(c.relkind, 'c') = 'c'
       AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
    UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, 0, NULL FROM pg_operator
    UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace, 0, NULL FROM pg_opfamily
    UNION ALL SELECT 'pg_opclass'::regclass, o.oid, o.opcnamespace, 0, NULL
      FROM pg_opclass o JOIN pg_opfamily f ON f.oid = o.opcfamily
     -- Any other is dropped with its family.
     WHERE (f.opfnamespace, f.opfname) <> (o.opcnamespace, o.opcname)
    UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, 0, NULL FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, 0, NULL FROM pg_conversion
    UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, 0, NULL FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, 0, NULL FROM pg_ts_dict
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid, prsnamespace, 0, NULL FROM pg_ts_parser
    UNION ALL SELECT 'pg_ts_template'::regclass, oid, tmplnamespace, 0, NULL FROM pg_ts_template
    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid, c.relnamespace, c.oid, NULL
      FROM pg_statistic_ext s JOIN pg_class c ON c.oid = s.stxrelid
    UNION ALL SELECT 'pg_rewrite'::regclass, r.oid, c.relnamespace, c.oid, NULL
      FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
)
SELECT n.nspname AS schema, coalesce(o.type, i.type) AS type, i.identity AS name, c.relname AS of
  FROM objects o JOIN ours n ON n.oid = o.namespace LEFT JOIN pg_class c ON c.oid = o.relation
 CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype IN ('e', 'i'))
"""

# What is in no schema counts where it reaches into ours: casts of our types or the system's,
# publications of our tables, whatever our owner or a superuser made.
_OF_DATABASE = """
, owners AS (SELECT oid FROM runner UNION SELECT oid FROM pg_roles WHERE rolsuper),
near AS (SELECT oid FROM ours UNION SELECT 'pg_catalog'::regnamespace),
objects (class, oid) AS (
    SELECT 'pg_cast'::regclass, c.oid
      FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource JOIN pg_type t ON t.oid = c.casttarget
     WHERE c.oid >= 16384
       AND s.typnamespace IN (SELECT oid FROM near) AND t.typnamespace IN (SELECT oid FROM near)
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, p.oid FROM pg_publication p
     WHERE p.puballtables
        OR EXISTS (SELECT FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
                    WHERE r.prpubid = p.oid AND c.relnamespace IN (SELECT oid FROM ours))
        OR EXISTS (SELECT FROM pg_publication_namespace s
                    WHERE s.pnpubid = p.oid AND s.pnnspid IN (SELECT oid FROM ours))
    UNION ALL SELECT 'pg_subscription'::regclass, oid FROM pg_subscription
     WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
     WHERE fdwowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
     WHERE srvowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_user_mapping'::regclass, u.umid FROM pg_user_mappings u
      JOIN pg_foreign_server s ON s.oid = u.srvid WHERE s.srvowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
     WHERE lanispl AND lanowner IN (SELECT oid FROM owners)
    UNION ALL SELECT 'pg_transform'::regclass, oid FROM pg_transform WHERE oid >= 16384
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am WHERE oid >= 16384
)
SELECT '' AS schema, i.type, i.identity AS name, NULL AS of
  FROM objects o CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype IN ('e', 'i'))
"""

# Extensions are a kind, but one that is never dropped; the runner itself adds TimescaleDB.
_EXTENSIONS = """
SELECT '' AS schema, 'extension' AS type, quote_ident(extname) AS name, NULL AS of
  FROM pg_extension WHERE extname NOT IN ('plpgsql', 'timescaledb')
"""

_DEFAULT_PRIVILEGES = """
SELECT '' AS schema, 'default privileges' AS type,
       format('of %I%s on %s', pg_get_userbyid(d.defaclrole), ' in schema ' || n.nspname::text,
              k.noun) AS name,
       'to ' || g.grantee AS detail,
       string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS found,
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %s',
              pg_get_userbyid(d.defaclrole), ' IN SCHEMA ' || quote_ident(n.nspname),
              upper(k.noun), g.grantee) AS mend
  FROM pg_default_acl d LEFT JOIN ours n ON n.oid = d.defaclnamespace
  JOIN (VALUES ('r', 'tables'), ('S', 'sequences'), ('f', 'functions'), ('T', 'types'),
               ('n', 'schemas'), ('L', 'large objects')) k (type, noun) ON k.type = d.defaclobjtype
 CROSS JOIN LATERAL aclexplode(d.defaclacl) a
 CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC'
                            ELSE quote_ident(pg_get_userbyid(a.grantee)) END) g (grantee)
 WHERE a.grantee <> d.defaclrole
   AND (n.oid IS NOT NULL OR d.defaclnamespace = 0 AND d.defaclrole IN (SELECT oid FROM runner))
   -- What PostgreSQL itself grants to PUBLIC.
   AND NOT (d.defaclnamespace = 0 AND a.grantee = 0 AND d.defaclobjtype IN ('f', 'T'))
 GROUP BY d.defaclrole, n.nspname, k.noun, g.grantee
"""

_OWNERS = """
SELECT n.nspname AS schema, i.type, i.identity AS name, o.of, 'owner' AS detail,
       r.rolname AS expected, pg_get_userbyid(o.owner) AS found,
       format('ALTER %s %s OWNER TO %I', o.noun, i.identity, r.rolname) AS mend
  FROM (SELECT 'pg_class'::regclass AS class, c.oid, c.relnamespace AS namespace,
               c.relowner AS owner, 'TABLE' AS noun,
               CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE '' END || c.relname AS of
          FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
           -- The owner of a column's sequence is the table's.
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.refobjsubid > 0
                              AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                              AND c.relkind = 'S')
        UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.pronamespace, p.proowner, 'FUNCTION',
               replace('function ' || p.proname || '('
                       || pg_get_function_identity_arguments(p.oid) || ')', '"', '')
          FROM pg_proc p WHERE p.prokind = 'f'
        UNION ALL SELECT 'pg_namespace'::regclass, oid, oid, nspowner, 'SCHEMA', NULL
          FROM pg_namespace) o (class, oid, namespace, owner, noun, of)
  JOIN ours n ON n.oid = o.namespace CROSS JOIN runner r
 CROSS JOIN LATERAL pg_identify_object(o.class, o.oid, 0) i
 WHERE o.owner <> r.oid AND NOT starts_with(n.nspname::text, :shadow)
   -- The schema public comes with the database, of an older server as initdb's superuser's (10).
   AND NOT (o.class = 'pg_namespace'::regclass AND n.nspname = 'public'
            AND o.owner IN (SELECT 10 UNION SELECT oid FROM pg_roles
                             WHERE rolname = 'pg_database_owner'
                            UNION SELECT datdba FROM pg_database
                             WHERE datname = current_database()))
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE (e.classid, e.objid) = (o.class, o.oid)
                      AND e.deptype = 'e')
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """What is in ``schemas`` and of no other kind."""
    return [UnmanagedState(**row) for row in _rows(connection, schemas, _OBJECTS, _OWNERS)]


def read_database(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """What is in no schema, is of no other kind, and reaches into ``schemas``."""
    queries = (_OF_DATABASE, _EXTENSIONS, _DEFAULT_PRIVILEGES)
    return [UnmanagedInDatabaseState(**row) for row in _rows(connection, schemas, *queries)]


def _rows(
    connection: Connection, schemas: Sequence[str], *queries: str
) -> Iterator[dict[str, Any]]:
    parameters = {"schemas": list(schemas), "shadow": sql.SHADOW}
    for query in queries:
        for row in connection.execute(sa.text(f"WITH {_OURS}{query}"), parameters).mappings():
            shown = row["name"].replace("pg_catalog.", "")
            yield {"mend": _drop(row["type"], row["name"]), **row, "name": shown}


_NOUNS = {
    "aggregate": "routine",
    "composite type": "type",
    "enum": "type",
    "range type": "type",
    "statistics object": "statistics",
    "foreign-data wrapper": "foreign data wrapper",
}


def _drop(kind: str, name: str) -> str:
    """DROP by the name that pg_identify_object gives, which is nearly always SQL."""
    if kind == "user mapping":
        role, _, server = name.rpartition(" on server ")
        return f"DROP USER MAPPING FOR {role} SERVER {server}"
    if kind == "transform":
        name = name.replace(" on language ", " language ")  # before PostgreSQL 18
    return f"DROP {_NOUNS.get(kind, kind).upper()} {name}"


# --- compare: no operations ----------------------------------------------------------------------


def seeds(changes: Changes, kind: Kind[Any]) -> Iterable[Identity]:  # noqa: ARG001
    """Nothing."""
    return ()


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Nothing: the differences say what to do."""


KIND = Kind(
    UnmanagedState,
    None,
    read,
    create=Phase.GRANTS,
    drop=Phase.REVOKES,
    alterable=always,
    compare=compare,
    seeds=seeds,
)
KIND_OF_DATABASE = Kind(
    UnmanagedInDatabaseState,
    None,
    read_database,
    create=Phase.GRANTS,
    drop=Phase.REVOKES,
    alterable=always,
    in_schema=False,
    compare=compare,
    seeds=seeds,
)
