"""The root of the errors that a person can mend."""

from __future__ import annotations


class FleetSchemaError(Exception):
    """Something a person can mend: the text says what, where, and what to do about it.

    A command line prints the text and nothing else (no traceback) and exits with 1. The text
    never contains a password.
    """
