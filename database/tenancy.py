"""Transactions bound to one tenant, and audited ones of operators.

Everything here lasts for one transaction (``SET LOCAL``), so it is safe behind a pooler in
transaction mode: the next transaction on the same server connection begins with nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Required, TypedDict, Unpack
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg import errors
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool

from database.context import Signer
from database.errors import (
    FleetSchemaError,
    StaleSessionError,
    cause,
    is_forbidden,
    is_undefined,
    server_message,
)
from models.shared.roles import ROLE_NAMES

APP = "fleet_app"
OPERATOR = "fleet_operator"
OPERATOR_READ = "fleet_operator_read"

TENANT_SCHEMAS = {"timeseries": "public"}
"""A tenant reaches each hypertable by the view of the same name in ``public``."""

OPERATOR_PATH = "timeseries, public"
"""The search_path by which operators reach hypertables and rollups, with the rows of all tenants,
by the names that tenants' views have. A schema that a role may not use is passed over."""

_BIND = text(
    "select set_config('role', :role, true), set_config('app.tenant_id', :tenant, true),"
    " set_config('app.tenant_token', :token, true), current_setting('statement_timeout')"
)
_BIND_SIGNED = text(f"{_BIND.text}, public.current_tenant() = cast(:tenant as uuid)")
_PATH = text("select set_config('search_path', :path, true)")
_READ_ONLY = text("select set_config('transaction_read_only', 'on', true)")
_MEMBERSHIP = text("""
    select r.rolname from pg_roles r
     where r.rolname in (:write, :read) and pg_has_role(session_user, r.oid, 'member')
""")
_MORE = text("""
    select case when rolsuper then 'a superuser' else concat_ws(', ',
             case when rolbypassrls then 'BYPASSRLS' end,
             case when rolcreaterole then 'CREATEROLE' end,
             case when rolreplication then 'REPLICATION' end,
             (select 'a member of ' || string_agg(g.rolname, ', ' order by g.rolname)
                from pg_roles g
               where g.oid <> r.oid and pg_has_role(r.oid, g.oid, 'member')
                 and (g.rolname = any (:others) or g.rolsuper or g.rolbypassrls
                      or g.rolcreaterole or g.rolreplication)),
             (select 'the owner of ' || min(c.oid::regclass::text) from pg_class c
               where c.relnamespace in (to_regnamespace('public'), to_regnamespace('timeseries'))
                 and pg_has_role(r.oid, c.relowner, 'member'))) end
      from pg_roles r where rolname = session_user
""")
_AUDIT = text("""
    insert into public.operator_audit_log
           (user_id, action, tenant_filter, resource_type, resource_id, ip_address, user_agent,
            reason)
    values (:user_id, :action, :tenant_filter, :resource_type, :resource_id,
            cast(:ip_address as inet), :user_agent, :reason)
""")


PREDEFINED = (
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_database_owner",
    "pg_maintain",
    "pg_create_subscription",
)
"""PostgreSQL's own roles by which a login sees or does more than a service may."""

SHORTEST_TIMEOUT = 50
"""Milliseconds: who left less of a statement_timeout may have stopped the reset of the session."""

_RESET = (
    "it was not reset, and may have more of an earlier transaction; do this one again, and let the "
    "pooler reset sessions as pgbouncer.ini says, or the login have a longer timeout"
)

ANY_LOGIN = "any_login"
"""The execution option of an engine whose login may be more than the application's: operations that
play the part of a tenant have it, and tests."""

_plain: WeakKeyDictionary[Pool, set[str]] = WeakKeyDictionary()
"""The pools whose login was looked at, with the roles that it is no more than."""


class TenancyError(FleetSchemaError):
    """A transaction cannot be bound to a tenant, or opened for an operator; says why."""


def tenant_pseudonym(tenant_id: UUID | str) -> str:
    """By what notifications name the tenant, as the database's function of that name.

    Raises TenancyError: not a UUID.
    """
    return hashlib.sha256(_uuid(tenant_id).bytes).hexdigest()[:32]


@contextmanager
def tenant_transaction(
    engine: Engine, tenant_id: UUID | str, *, role: str = APP
) -> Iterator[Connection]:
    """A transaction that sees and writes the rows of one tenant.

    Commits at the end of the block, rolls back if it raises. Nothing outside of the block can
    follow on the connection: after a commit or rollback inside, SQLAlchemy refuses more.
    Models of the schema ``timeseries`` are reached by the tenant's views.

    Args:
        role: that it acts as, another one of the project whose policies bind it to a tenant.

    Raises TenancyError: not a UUID, or a login that may not act as ``role``, or could do more by
    RESET ROLE: a superuser, an owner of tables, a member of other roles (see `ANY_LOGIN`).
    """
    tenant = _uuid(tenant_id)
    with engine.connect() as connection, connection.begin():
        _enter_tenant(connection, tenant, role)
        yield connection


@asynccontextmanager
async def async_tenant_transaction(
    engine: AsyncEngine, tenant_id: UUID | str, *, role: str = APP
) -> AsyncIterator[AsyncConnection]:
    """The same as `tenant_transaction`, for asyncio."""
    tenant = _uuid(tenant_id)
    async with engine.connect() as connection, connection.begin():
        await connection.run_sync(_enter_tenant, tenant, role)
        yield connection


@contextmanager
def tenant_session(
    engine: Engine, tenant_id: UUID | str, *, role: str = APP, **options: Any
) -> Iterator[Session]:
    """An ORM session inside a `tenant_transaction`; ``options`` go to `Session`.

    Its ``commit`` and ``rollback`` end a savepoint and stay with the tenant; all of it is
    committed at the end of the block.
    """
    with (
        tenant_transaction(engine, tenant_id, role=role) as connection,
        Session(connection, join_transaction_mode="create_savepoint", **options) as session,
    ):
        yield session
        session.commit()


@asynccontextmanager
async def async_tenant_session(
    engine: AsyncEngine, tenant_id: UUID | str, *, role: str = APP, **options: Any
) -> AsyncIterator[AsyncSession]:
    """The same as `tenant_session`, for asyncio."""
    async with (
        async_tenant_transaction(engine, tenant_id, role=role) as connection,
        AsyncSession(connection, join_transaction_mode="create_savepoint", **options) as session,
    ):
        yield session
        await session.commit()


class OperatorAccess(TypedDict, total=False):
    """What the audit log keeps of an access, and what the access is for."""

    actor: Required[str]
    """Who: the name that the identity provider gives, not the database login."""
    action: Required[str]
    reason: Required[str]
    write: bool
    tenant_id: UUID | str | None
    """The tenant meant; it becomes the current tenant too, but it hides no rows."""
    resource_type: str | None
    resource_id: str | None
    ip_address: str | None
    user_agent: str | None


@contextmanager
def operator_transaction(engine: Engine, **access: Unpack[OperatorAccess]) -> Iterator[Connection]:
    """A transaction across tenants, after a row in ``operator_audit_log`` says so.

    The row is committed before the block begins, so it stays whatever becomes of the block.
    Without ``write=True`` the transaction is read only, as ``fleet_operator_read`` or, for a
    login that is not granted it, as ``fleet_operator``. The other arguments are those of
    `OperatorAccess`.

    Raises TenancyError: not a UUID, no actor, action or reason, or a login without the role.
    """
    opened = _Access(**access)
    with engine.connect() as connection:
        with connection.begin():
            opened.record(connection)
        with connection.begin():
            opened.enter(connection)
            yield connection


@asynccontextmanager
async def async_operator_transaction(
    engine: AsyncEngine, **access: Unpack[OperatorAccess]
) -> AsyncIterator[AsyncConnection]:
    """The same as `operator_transaction`, for asyncio."""
    opened = _Access(**access)
    async with engine.connect() as connection:
        async with connection.begin():
            await connection.run_sync(opened.record)
        async with connection.begin():
            await connection.run_sync(opened.enter)
            yield connection


class _Access:
    """One access of an operator: as which role, to which tenant, and its row of the log."""

    def __init__(self, **access: Unpack[OperatorAccess]) -> None:
        self.write = access.get("write", False)
        self.role = OPERATOR if self.write else OPERATOR_READ
        tenant = access.get("tenant_id")
        self.tenant = None if tenant is None else _uuid(tenant)
        self.entry = {
            "user_id": _said(access["actor"], "actor"),
            "action": _said(access["action"], "action"),
            "reason": _said(access["reason"], "reason"),
            "tenant_filter": self.tenant,
            "resource_type": access.get("resource_type"),
            "resource_id": access.get("resource_id"),
            "ip_address": access.get("ip_address"),
            "user_agent": access.get("user_agent"),
        }

    def record(self, connection: Connection) -> None:
        """Write the audit row, as the role that the access will have."""
        if not self.write and self.role not in (held := self._held(connection)):
            # A login is granted one role only, and who may write may read.
            self.role = OPERATOR if OPERATOR in held else self.role
        take_role(connection, self.role, None)
        try:
            connection.execute(_AUDIT, self.entry)
        except DBAPIError as error:
            if is_undefined(error) or is_forbidden(error):
                raise TenancyError(
                    f"operator_audit_log cannot be written as {self.role}, so there is no access "
                    f"either ({server_message(error, brief=True)}): run `alembic upgrade head`"
                ) from error
            raise

    def enter(self, connection: Connection) -> None:
        """Open the transaction itself."""
        if not self.write:
            connection.execute(_READ_ONLY)
        take_role(connection, self.role, self.tenant)

    @staticmethod
    def _held(connection: Connection) -> set[str]:
        names = {"write": OPERATOR, "read": OPERATOR_READ}
        return set(connection.execute(_MEMBERSHIP, names).scalars())


def _enter_tenant(connection: Connection, tenant: UUID, role: str) -> None:
    # In place, on a Connection that lives as long as the block: the pool keeps the driver's.
    connection.execution_options(schema_translate_map=TENANT_SCHEMAS)
    take_role(connection, role, tenant)
    _require_plain_login(connection, role)


def _require_plain_login(connection: Connection, role: str) -> None:
    """Once for each pool, since its connections have one login: see `tenant_transaction`."""
    accepted = _plain.setdefault(connection.engine.pool, set())
    if role in accepted or connection.get_execution_options().get(ANY_LOGIN):
        return
    others = [one for one in (*ROLE_NAMES, *PREDEFINED) if one != role]
    if more := connection.scalar(_MORE, {"others": others}):
        login = connection.scalar(text("select session_user"))
        raise TenancyError(
            f"the login {login} is more than {role}, which RESET ROLE would give to an injected "
            f"statement: expected nothing else, found {more}; connect with one made by "
            f"`python -m operations login create NAME --role {role}`"
        )
    accepted.add(role)


def take_role(connection: Connection, role: str, tenant: UUID | None) -> None:
    """Take the role and the tenant until the transaction ends; operators also `OPERATOR_PATH`.

    With a token of the tenant, if the engine has a key (the option ``context_key``).

    Raises TenancyError: the login may not, there is no such role, the engine is in AUTOCOMMIT, or
    the database is signed and does not take the token. Raises StaleSessionError: somebody left a
    timeout in the session, and so perhaps more.
    """
    driver = connection.connection.driver_connection
    if getattr(driver, "autocommit", False):
        raise TenancyError(
            "the engine is in AUTOCOMMIT mode, where neither role nor tenant outlast a statement: "
            "make it without isolation_level"
        )
    try:
        signer: Signer | None = connection.get_execution_options().get("context_key")
        token = "" if signer is None or tenant is None else signer.token(tenant)
        values = {"role": role, "tenant": "" if tenant is None else str(tenant), "token": token}
        found = connection.execute(_BIND_SIGNED if token else _BIND, values).one()
        _require_reset(found[3])
        if token and not found[-1]:
            raise TenancyError(
                f"the database takes no token of the key {token[:8]}, which this application signs "
                f"with ({signer}): give it a key that `operations context status` lists"
            )
        if role in (OPERATOR, OPERATOR_READ):
            connection.execute(_PATH, {"path": OPERATOR_PATH})
    except DBAPIError as error:
        if is_forbidden(error):
            login = connection.engine.url.username or "of this connection"
            raise TenancyError(
                f"the login {login} may not act as {role}: connect with one made by "
                f"`operations login create NAME --role {role}`"
            ) from error
        if isinstance(cause(error), errors.InvalidAuthorizationSpecification):
            raise TenancyError(
                f"the database does not take the token of the tenant: {server_message(error)}"
            ) from error
        if isinstance(cause(error), errors.QueryCanceled):
            raise StaleSessionError(
                "the tenant was not set within the statement_timeout that the session came with: "
                + _RESET
            ) from error
        if isinstance(cause(error), errors.InvalidParameterValue) or is_undefined(error):
            raise TenancyError(
                f"the role {role} does not exist on this server: run `alembic upgrade head`"
            ) from error
        raise


def _require_reset(timeout: str) -> None:
    """By such a timeout PgBouncer's reset fails unnoticed: see `FORGET` of `database.engine`."""
    if timeout.endswith("ms") and int(timeout.removesuffix("ms")) < SHORTEST_TIMEOUT:
        raise StaleSessionError(
            f"the session came with a statement_timeout of {timeout}, expected 0 or at least "
            f"{SHORTEST_TIMEOUT}ms: {_RESET}"
        )


def _uuid(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise TenancyError(
            f"tenant_id must be a UUID, not {value!r}: look it up by tenants.slug"
        ) from None


def _said(value: str, name: str) -> str:
    if not value or not value.strip():
        raise TenancyError(f"{name} is empty: an operator's access says who, what and why")
    return value
