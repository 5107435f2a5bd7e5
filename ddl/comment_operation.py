"""A change of nothing but a comment, for kinds whose own operation repeats a body or a query."""

from __future__ import annotations

import dataclasses
from typing import Any

from ddl import sql
from ddl.base import Alteration, State


def only_comment_differs(before: Any, after: Any) -> bool:
    """True where the two say the same but for the comment of an object that has one."""
    return bool(after.noun) and dataclasses.replace(before, comment=after.comment) == after


class CommentOperation(Alteration[State]):
    """COMMENT ON; a revision has it as ``op.execute``."""

    state_type = State
    verbs = ("execute", "execute", "execute")

    def alter(self, before: State, after: Any, edition: str) -> list[str]:
        """The comment of the later one."""
        return [sql.comment_on(after.noun, after.comment)]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The statement."""
        return [sql.escaped(one) for one in self.statements()], {}
