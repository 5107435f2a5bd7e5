"""The migration runner: what ``alembic/env.py`` calls, for every command and both modes."""

from database.migration.runner import run

__all__ = ["run"]
