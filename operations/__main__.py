"""``python -m operations …``."""

import sys

from sqlalchemy.exc import SQLAlchemyError

from database.errors import mistake_in_models

try:
    from operations.cli import main
except SQLAlchemyError as error:
    sys.exit(f"error: {mistake_in_models(error)}")

if __name__ == "__main__":
    main()
