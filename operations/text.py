"""English for messages and pages: numbers with nouns, enumerations."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """``1 table``, ``2,000 tables``."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun on these pages."""
    irregular = {
        "policy": "policies",
        "index": "indexes",
        "refresh": "refreshes",
        "kept history": "kept histories",
    }
    return irregular.get(noun, f"{noun}s")


def enumeration(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
