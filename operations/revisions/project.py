"""The revisions of this project, wherever a command was called from."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from database.migration.revisions import Revisions
from database.settings import PROJECT_ROOT


def alembic_config() -> Config:
    """The configuration in the project's alembic.ini."""
    return Config(str(PROJECT_ROOT / "alembic.ini"))


def project_revisions() -> Revisions:
    """The revision files that alembic.ini names."""
    return Revisions(ScriptDirectory.from_config(alembic_config()))
