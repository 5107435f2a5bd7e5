"""What every alembic command runs first; the work is done in database/migration/runner.py."""

from alembic import context

from database.migration import run
from models import metadata

run(context, metadata)
