"""A change of nothing but a comment, for kinds whose own operation repeats a body or a query."""

from __future__ import annotations

import dataclasses
from typing import Any

from ddl import sql
from ddl.base import Operation, State
from ddl.edition import COMMUNITY


def only_comment_differs(before: Any, after: Any) -> bool:
    """True where the two say the same but for the comment of an object that has one."""
    return bool(after.noun) and dataclasses.replace(before, comment=after.comment) == after


class CommentOperation(Operation[State]):
    """COMMENT ON; a revision has it as ``op.execute``."""

    state_type = State
    verbs = ("execute", "execute", "execute")

    def create(self, state: State, edition: str) -> list[str]:
        """Never: the operation of the kind creates the comment as well."""
        raise TypeError(f"{state.kind} is not created by its comment")  # pragma: no cover

    def drop(self, state: State, edition: str) -> list[str]:
        """Never, as well."""
        return self.create(state, edition)  # pragma: no cover

    def alter(self, before: State, after: Any, edition: str) -> list[str]:
        """The comment of the later one."""
        return [sql.comment_on(after.noun, after.comment)]

    def statements(self, edition: str = COMMUNITY) -> list[str]:
        """One statement, the same for every edition."""
        return super().statements(edition)

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The statement."""
        return [sql.escaped(one) for one in self.statements()], {}
