"""Arguments that Alembic would take without a word although they mean nothing here."""

from __future__ import annotations

import re
from typing import Any

from database.migration.revisions import RevisionError, Revisions
from database.migration.script import parse_edition

_X_OPTION = re.compile(r"edition=.+|json|show=revision|rename=.+")
_BRANCHES = {
    "splice": "--splice",
    "branch_label": "--branch-label",
    "depends_on": "--depends-on",
}
"""Options of ``alembic revision`` that make a history of more than one line."""


def reject(context: Any, revisions: Revisions) -> None:
    """Look at the running command, ``alembic.context``.

    Raises:
        RevisionError: a merge, a revision that does not follow the newest, or an unknown ``-x``.
        PreparationError: an unknown edition.
    """
    options = context.config.cmd_opts
    command = getattr(options, "cmd", None)
    if command is not None and command[0].__name__ == "merge":
        raise RevisionError(
            "alembic merge: the revisions of this project follow one another; let those of "
            "one branch follow the other's: make rebase"
        )
    given = getattr(options, "rev_id", None)
    if given is not None and given != revisions.next_number():
        raise RevisionError(
            f"--rev-id: expected {revisions.next_number()}, found {given}: revisions are "
            "numbered; leave the option out"
        )
    for name, option in _BRANCHES.items():
        if getattr(options, name, None):
            raise RevisionError(
                f"{option}: expected a history of one line, found an option for branches; "
                "leave it out"
            )
    head = getattr(options, "head", None)
    if head not in (None, "head", "heads", revisions.head, *([] if revisions.head else ["base"])):
        raise RevisionError(
            f"--head: expected {revisions.head}, the newest revision, found {head}: revisions "
            "follow one another; leave the option out"
        )
    for text in context.get_x_argument():
        if text.startswith("edition="):
            parse_edition(text.removeprefix("edition="))
        if not _X_OPTION.fullmatch(text):
            raise RevisionError(
                f"-x {text}: expected edition=…, json, show=revision or rename=old:new"
            )
