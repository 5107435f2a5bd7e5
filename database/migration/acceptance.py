"""What a revision accepts: ``# accept`` lines, and the operations that need one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ddl.effects import Effect

_LINE = re.compile(r"^ *# accept (?P<rule>[a-z-]+)(?P<text>[ :].*)?$", re.M)


@dataclass(frozen=True)
class Acceptance:
    """``# accept <rule> <object>: <reason>``; only the rules of squawk name no object."""

    line: int
    rule: str
    text: str
    """What follows the rule: object and reason."""

    @property
    def what(self) -> str:
        """Rule and object, if no colon is in its name."""
        return f"{self.rule} {self.text.partition(':')[0]}".strip()

    def reason(self, name: str) -> str | None:
        """Why it accepts ``name``, which may have a colon in it; None if it accepts another."""
        name = " ".join(name.split())
        rest = self.text.removeprefix(name)
        if rest == self.text and name:
            return None
        return rest.strip().removeprefix(":").strip() if rest.strip()[:1] in ("", ":") else None

    def covers(self, effect: Effect) -> bool:
        """True where it names the operation, and says why."""
        return self.rule == effect.rule and bool(self.reason(effect.name))


def acceptances(path: Path) -> list[Acceptance]:
    """Those of a revision file, in its order."""
    text = path.read_text(encoding="utf-8")
    return [
        Acceptance(
            text.count("\n", 0, match.start()) + 1, match["rule"], (match["text"] or "").strip()
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
