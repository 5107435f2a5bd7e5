"""SQL in the server's spelling, shortened for readers."""

from __future__ import annotations

import re

_LITERAL = re.compile(r"'(?:[^']|'')*'")
_MARK = re.compile(r"\x00(\d+)\x00")
_SHORTENED = (
    (r"\bpublic\.", ""),
    # Casts to the type of the column.
    (r"(\x00\d+\x00)::(?:text|jsonb|regconfig|uuid\[\]|text\[\])(?![\w\[])", r"\1"),
    (r"\((-?[\d.]+)\)::(?:double precision|numeric|bigint)", r"\1"),
    # A subquery that makes the server call the function once per statement.
    (r"\( SELECT (\w+\(\)) AS \w+(, true)?(?: AS bool)?\)", r"(SELECT \1\2)"),
    (r"= ANY \(ARRAY\[([^\[\]]*)\]\)", r"IN (\1)"),
    (r"<> ALL \(ARRAY\[([^\[\]]*)\]\)", r"NOT IN (\1)"),
)
_BETWEEN_CONDITIONS = re.compile(r"(?:^|\(|\bAND|\bOR|\bWHEN|\bTHEN|\bELSE) ?$")


def expression(text: str) -> str:
    """A condition or default without redundant casts and parentheses."""
    literals: list[str] = []

    def kept(match: re.Match[str]) -> str:
        literals.append(match[0])
        return f"\x00{len(literals) - 1}\x00"

    found = _LITERAL.sub(kept, text)
    found = re.sub(r"\s+", " ", found).strip()
    # The server writes a negative number in quotes with a cast.
    found = re.sub(
        r"\(?\x00(\d+)\x00::integer\)?(?:::double precision|::numeric|::bigint)?",
        lambda match: literals[int(match[1])].strip("'"),
        found,
    )
    for pattern, replacement in _SHORTENED:
        found = re.sub(pattern, replacement, found)
    found = _without_parentheses(found)
    return _MARK.sub(lambda match: literals[int(match[1])], found).strip()


def _without_parentheses(text: str) -> str:
    """Drop parentheses around the whole, and around comparisons between AND and OR."""
    before = None
    while before != text:
        before = text
        for start, end in _pairs(text):
            inner = text[start + 1 : end]
            if start == 0 and end == len(text) - 1:
                text = inner
                break
            opened = _BETWEEN_CONDITIONS.search(text[:start])
            closed = re.match(r"$| ?\)| AND\b| OR\b| THEN\b", text[end + 1 :])
            if opened and closed and not _joined(inner) and not _called(text, start):
                text = text[:start] + inner + text[end + 1 :]
                break
    return text


def _pairs(text: str) -> list[tuple[int, int]]:
    """Positions of matching parentheses, outer ones first."""
    opened: list[int] = []
    found = []
    for position, character in enumerate(text):
        if character == "(":
            opened.append(position)
        elif character == ")":
            found.append((opened.pop(), position))
    return sorted(found)


def _joined(text: str) -> bool:
    """True for conditions joined by AND or OR outside of parentheses, and for queries."""
    depth, outside = 0, []
    for character in text:
        depth += (character == "(") - (character == ")")
        outside.append(character if depth == 0 else " ")
    return re.search(r"\b(?:AND|OR|SELECT)\b|,", "".join(outside)) is not None


def _called(text: str, start: int) -> bool:
    """True for the parentheses of a call or a list, and for what stands in one alone."""
    depth = 0
    for position in range(start - 1, -1, -1):
        depth += (text[position] == ")") - (text[position] == "(")
        if depth < 0:
            return bool(re.search(r"\w ?$", text[:position])) and not re.search(
                r"\b(?:AND|OR|NOT|WHERE) ?$", text[:position]
            )
    return False


def type_name(text: str) -> str:
    """The shortest name of a type that PostgreSQL understands."""
    return text.replace("timestamp with time zone", "timestamptz").replace("public.", "")


def interval(text: str) -> str:
    """``01:00:00`` as ``1 hour``; other spellings stay."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+)", text)
    if match is None:
        return text
    parts = zip((int(part) for part in match.groups()), ("hour", "minute", "second"), strict=True)
    found = [f"{number} {unit}{'s' * (number != 1)}" for number, unit in parts if number]
    return " ".join(found) or "0 seconds"
