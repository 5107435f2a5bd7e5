"""What every alembic command runs first; the work is done in database/migration/runner.py."""

import gc

from alembic import context
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from database.errors import mistake_in_models

# What is imported stays. To look through it for garbage is a tenth of the time of a command.
gc.disable()
try:
    from database.migration import run
    from models import metadata
    from operations.revisions import lint  # noqa: F401 (registers the hook that alembic.ini names)
except SQLAlchemyError as error:
    raise CommandError(mistake_in_models(error)) from error
finally:
    gc.freeze()
    gc.enable()

run(context, metadata)
