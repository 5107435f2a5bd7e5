"""What a revision accepts: ``# accept`` lines, and the operations that need one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ddl.effects import Effect

_LINE = re.compile(
    r"^ *# accept (?P<rule>[a-z-]+)(?: (?P<name>[^:\n]+?))?(?: *:(?P<why>.*))?$", re.M
)


@dataclass(frozen=True)
class Acceptance:
    """``# accept <rule> <object>: <reason>``; only the rules of squawk name no object."""

    line: int
    rule: str
    name: str
    reason: str

    def covers(self, effect: Effect) -> bool:
        """True where it names the operation, and says why."""
        return (self.rule, self.name) == (effect.rule, effect.name) and bool(self.reason)


def acceptances(path: Path) -> list[Acceptance]:
    """Those of a revision file, in its order."""
    text = path.read_text(encoding="utf-8")
    return [
        Acceptance(
            text.count("\n", 0, match.start()) + 1,
            match["rule"],
            match["name"] or "",
            (match["why"] or "").strip(),
        )
        for match in _LINE.finditer(text)
    ]


def refusal(effect: Effect, what: str) -> str:
    """Why ``effect`` is not let through, and the line that accepts it.

    Args:
        what: the reason of the effect, with numbers where they are known.
    """
    return (
        f"{effect.rule}: {effect.risk}: {what} ({effect.name}), which the revision does not"
        f" accept; if it is meant, write above it: {effect.acceptance} and the reason"
    )
