"""Engines as this project wants them: safe behind a transaction pooler, sized by the settings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, AdaptedConnection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolResetState

from database.context import KeyFile, Signer
from database.libpq import connect_arguments
from database.settings import Settings, application_url
from database.urls import parse_url

APPLICATION_NAME = "fleetschema"

FORGET = (
    "BEGIN; RESET ALL; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; DEALLOCATE ALL; UNLISTEN *;"
    " SELECT pg_advisory_unlock_all(), setseed(uuid_hash(gen_random_uuid()) / float8 '2147483648');"
    " DISCARD TEMP; DISCARD SEQUENCES; COMMIT"
)
"""What leaves nothing of one session to the next: all of DISCARD ALL but its DISCARD PLANS. Plans
tell nothing, and the functions and foreign keys of the next transaction need them. It also seeds
random() anew, which DISCARD ALL does not: who called setseed() would know the next numbers.

The settings come first, so that a statement_timeout that somebody left does not stop the rest. If
something fails nevertheless, the session stays in a failed transaction: PgBouncer, which does not
look at errors of its reset, gives such a session to nobody."""


def make_engine(
    url: URL | str | None = None,
    *,
    settings: Settings | None = None,
    context_key: Signer | None = None,
    **options: Any,
) -> Engine:
    """An engine for the URL (default: `application_url`), with the pool that the settings name.

    A connection that returns to the pool forgets its session (`FORGET`), so that the next tenant
    finds no setting, cursor, lock or prepared statement of the last one. What a program sets for
    every session belongs into the URL or to the login, not into a listener to ``connect``.

    Transactions of tenants are signed with ``context_key``, by default the one in the settings'
    ``context_key_file``, if there is one.

    ``options`` go to `sqlalchemy.create_engine` and win over what is set here.
    """
    engine = create_engine(**_arguments(url, settings, context_key, options))
    event.listen(engine, "reset", _forget)
    return engine


def make_async_engine(
    url: URL | str | None = None,
    *,
    settings: Settings | None = None,
    context_key: Signer | None = None,
    **options: Any,
) -> AsyncEngine:
    """The same as `make_engine`, for asyncio, over the same driver."""
    engine = create_async_engine(**_arguments(url, settings, context_key, options))
    event.listen(engine.sync_engine, "reset", _forget)
    return engine


def _forget(connection: Any, _: object, state: PoolResetState) -> None:
    """Roll back, as the pool would, and leave nothing of the session."""
    if not state.asyncio_safe:
        return  # Nobody waits for it any more: the pool closes it.
    connection.rollback()
    if state.terminate_only:
        return
    autocommit = connection.autocommit
    connection.autocommit = True
    # Several statements in one cannot be prepared; SQLAlchemy's cursor of asyncio cannot say so.
    if isinstance(connection, AdaptedConnection):
        connection.run_async(lambda driver: driver.execute(FORGET, prepare=False))
    else:
        connection.execute(FORGET, prepare=False)
    connection.autocommit = autocommit


def _arguments(
    url: URL | str | None,
    settings: Settings | None,
    context_key: Signer | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    settings = settings or Settings()
    if context_key is None and settings.context_key_file is not None:
        context_key = KeyFile(settings.context_key_file)
    if context_key is not None:
        signed = {"context_key": context_key}
        options["execution_options"] = signed | options.get("execution_options", {})
    if url is None:
        url = application_url(settings)
    elif isinstance(url, str):
        url = parse_url(url, "the URL")
    connect_args: dict[str, Any] = {
        **connect_arguments(url),
        # A transaction pooler gives the next transaction another server connection, which
        # knows nothing of statements prepared on the last one.
        "prepare_threshold": None,
        **options.pop("connect_args", {}),
    }
    if "application_name" not in url.query:
        connect_args.setdefault("application_name", APPLICATION_NAME)
    arguments: dict[str, Any] = {
        "url": url,
        "connect_args": connect_args,
        "pool_pre_ping": True,
        "pool_reset_on_return": None,  # `_forget` does it.
        # Errors end up in logs; values of tenants and their secrets do not.
        "hide_parameters": True,
    }
    if "poolclass" not in options:
        # Another class of pool need not know these.
        arguments |= {
            "pool_size": settings.database_pool_size,
            "max_overflow": settings.database_max_overflow,
            "pool_timeout": settings.database_pool_timeout,
        }
    return arguments | options
