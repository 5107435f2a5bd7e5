"""What a person says about renames: options of the command, and answers to questions."""

from __future__ import annotations

import sys
from typing import Any

from ddl import Answers, Rename

_OPTION = "rename="


def answers(context: Any, *, writes: bool) -> Answers:
    """The options ``-x rename=old:new`` of the running command; questions on a terminal.

    Args:
        writes: whether a revision is written; ``alembic check`` asks nothing, and renames nothing
            unless it is to show the revision.
    """
    given = context.get_x_argument()
    shows = "show=revision" in given
    return Answers(
        given=[text.removeprefix(_OPTION) for text in given if text.startswith(_OPTION)],
        ask=_ask if writes and sys.stdin.isatty() else None,
        carry_out=writes or shows,
    )


def _ask(rename: Rename) -> bool:
    try:
        old, new = ".".join(rename.old), ".".join(rename.new)
        answer = input(f"Was {rename.kind} {old} renamed to {new} ({rename.shape})? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")
