"""SQL of the models, rewritten so that it means the objects in the shadow schemas, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from ddl import sql
from ddl.base import Key


class InShadow:
    """Rewrites SQL so that each schema of a known object is its shadow schema.

    Attributes:
        names: schema to shadow schema.
        back: shadow schema to schema.
        texts: what to write for the unusual spellings of schemas, such as PUBLIC. Names with other
            letters in upper case stand for them: the same for the server, which keeps them only in
            texts, such as comments and bodies.
    """

    def __init__(self, names: Mapping[str, str], known: AbstractSet[Key]) -> None:
        self.names = names
        self.back = {shadow: schema for schema, shadow in names.items()}
        self.texts: dict[str, str] = {}
        self._spelled = {sql.ident(schema): shadow for schema, shadow in names.items()}
        self._known = known
        self._pattern = _qualified(names)

    def __call__(self, statement: str) -> str:
        """``statement`` over the shadow schemas."""
        return self._pattern.sub(self._rewritten, statement)

    def _rewritten(self, match: re.Match[str]) -> str:
        if match["quoted"]:
            return match[0]
        if match["text"]:
            return match["text"][0] + self(match["text"][1:])
        spelled = match["qualifier"] or match["schema"]
        schema = sql.unquoted(spelled)
        if schema not in self.names:
            return match[0]
        if match["qualifier"] and (schema, sql.unquoted(match["name"])) not in self._known:
            return match[0]
        if spelled not in self._spelled:
            shadow = _cased(self.names[schema], len(self.texts) + 1)
            self._spelled[spelled] = shadow
            self.texts[shadow] = spelled
        return self._spelled[spelled] + match[0].removeprefix(spelled)


def mentioned(schemas: Iterable[str], text: str) -> Iterator[Key]:
    """Whatever ``text`` names with one of the schemas before it, in strings as well."""
    yield from _mentioned(_qualified(schemas), text)


def _mentioned(pattern: re.Pattern[str], text: str) -> Iterator[Key]:
    for match in pattern.finditer(text):
        if match["qualifier"]:
            yield (sql.unquoted(match["qualifier"]), sql.unquoted(match["name"]))
        elif match["text"]:
            yield from _mentioned(pattern, match["text"][1:])


def _cased(shadow: str, number: int) -> str:
    """The same name for the server, with the letters in upper case that the bits of a number say.

    Six letters tell 63 spellings apart, more than people find.
    """
    bits = iter(f"{number:b}"[::-1])
    return "".join(
        char.upper() if char.isalpha() and next(bits, "0") == "1" else char for char in shadow
    )


def _qualified(schemas: Iterable[str]) -> re.Pattern[str]:
    """Matches ``qualifier.name``, and ``schema`` where GRANT names it without a dot behind it.

    And, to look into or to leave alone, texts (strings, bodies, comments) and quoted names.
    """
    spelled = {spelling for name in schemas for spelling in (sql.quoted(name), sql.ident(name))}
    one = "|".join(re.escape(spelling) for spelling in sorted(spelled))
    return re.compile(
        rf'(?<![\w."])(?P<qualifier>{one})\s*\.\s*(?P<name>{sql.IDENT})'
        rf"|(?<=\bON SCHEMA )(?P<schema>{one})(?!\w)"
        rf"|(?P<text>{sql.STRING}|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\n]*|/\*.*?\*/)"
        r'|(?P<quoted>"(?:[^"]|"")*")',
        re.I | re.S,
    )
