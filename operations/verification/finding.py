"""What `operations verify` reports: one thing that is not as it should be, and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    part: str
    """Which part of the verification found it."""
    object: str
    """What it is about, as ``table public.devices`` or ``role fleet_app``."""
    text: str
    """What was expected, and what was found."""
    fix: str
    """A command of the shell, or SQL; ``by`` says who runs it."""
    by: str = ""
    """For SQL: ``the owner`` or ``a superuser``. Empty for a command of the shell."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "part": self.part,
            "object": self.object,
            "text": self.text,
            "fix": self.fix,
            "by": self.by or None,
        }
