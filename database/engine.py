"""Engines as this project wants them: safe behind a transaction pooler, sized by the settings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from database.libpq import connect_arguments
from database.settings import Settings, application_url
from database.urls import parse_url

APPLICATION_NAME = "fleetschema"


def make_engine(
    url: URL | str | None = None, *, settings: Settings | None = None, **options: Any
) -> Engine:
    """An engine for the URL (default: `application_url`), with the pool that the settings name.

    ``options`` go to `sqlalchemy.create_engine` and win over what is set here.
    """
    return create_engine(**_arguments(url, settings, options))


def make_async_engine(
    url: URL | str | None = None, *, settings: Settings | None = None, **options: Any
) -> AsyncEngine:
    """The same as `make_engine`, for asyncio, over the same driver."""
    return create_async_engine(**_arguments(url, settings, options))


def _arguments(
    url: URL | str | None, settings: Settings | None, options: dict[str, Any]
) -> dict[str, Any]:
    settings = settings or Settings()
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
    arguments: dict[str, Any] = {"url": url, "connect_args": connect_args, "pool_pre_ping": True}
    if "poolclass" not in options:
        # Another class of pool need not know these.
        arguments |= {
            "pool_size": settings.database_pool_size,
            "max_overflow": settings.database_max_overflow,
            "pool_timeout": settings.database_pool_timeout,
        }
    return arguments | options
