"""What every alembic command runs first; the work is done in database/migration/runner.py."""

from alembic import context
from alembic.util import CommandError
from sqlalchemy.exc import ArgumentError

try:
    from database.migration import run
    from models import metadata
    from operations.revisions import lint  # noqa: F401 (registers the hook that alembic.ini names)
except ArgumentError as error:
    # A mistake in a declaration: its message says what to write.
    raise CommandError(str(error)) from error

run(context, metadata)
