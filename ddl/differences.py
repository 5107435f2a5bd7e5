"""What differs between models and database, one line for each object, for people and programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ddl import sql
from ddl.base import Key, State
from ddl.catalog import Catalog
from ddl.kinds import KINDS
from ddl.kinds.grant import GrantState
from ddl.kinds.setting import SettingState
from ddl.kinds.unmanaged import EXPECTED, UnmanagedState
from ddl.privileges import by_role
from ddl.renames import Rename
from ddl.risk import Risk

MISSING = "expected, missing"
UNDECLARED = "found, not declared"


@dataclass(frozen=True)
class Difference:
    """A part of an object that is not as declared; values in the server's own spelling.

    ``detail`` says which part differs (a field, a role), empty for the whole object;
    ``expected`` and ``found`` are None for what one side does not have; of grants they hold the
    privileges that are missing and those that are not declared. ``mend`` is the SQL that a
    person runs where no revision can mend it.
    """

    kind: str
    name: str
    detail: str = ""
    expected: Any = None
    found: Any = None
    mend: str = ""
    risk: Risk = Risk.SAFE
    """Of the operation that brings the database to the models."""

    def what(self) -> str:
        """The right-hand side of a line."""
        return f"{self._what()}; run: {self.mend}" if self.mend else self._what()

    @property
    def mended(self) -> str:
        """By hand, or the class of the operation that does it."""
        return "by-hand" if self.mend else str(self.risk)

    def _what(self) -> str:
        if not self.detail:
            return MISSING if self.found is None else UNDECLARED
        if self.kind == "grant":
            parts = (("missing", self.expected), ("not declared", self.found))
            listed = [f"{what}: {_privileges(text)}" for what, text in parts if text]
            return f"to {self.detail}: {'; '.join(listed)}"
        expected, found = _texts(self.expected, self.found)
        return f"{self.detail}: expected {expected}, found {found}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        change = "changed"
        if not self.detail:
            change = "missing" if self.found is None else "not declared"
        values = {"expected": _plain(self.expected), "found": _plain(self.found)}
        found = {"kind": self.kind, "name": self.name, "change": change, "detail": self.detail}
        found |= {"mend": self.mend} if self.mend else {}
        found["class"] = self.mended
        return found | (values if self.detail else {})


def differences(target: Catalog, current: Catalog) -> list[Difference]:
    """Every difference, kind by kind; of what only one side has, that and nothing else."""
    lone = _lone_relations(target, current)
    listed: list[Difference] = []
    for kind in KINDS:
        targets, currents = target.of(kind.state), current.of(kind.state)
        for key in sorted(targets.keys() | currents.keys()):
            expected, found = targets.get(key), currents.get(key)
            if expected == found or (expected is None and not kind.dropped):
                continue
            state: Any = expected if expected is not None else found
            if state.part_of is not None and None in (expected, found):
                continue
            # Of a missing table only the table itself is reported, not its columns.
            if state.relation in lone and not (kind.relation and key == _own(lone, state)):
                continue
            listed += _of_object(kind.name, expected, found)
    return listed


def renames(done: Iterable[Rename]) -> list[Difference]:
    """What has another name in the models, and is renamed."""
    return [
        Difference(one.kind, one.full_names[1], "name", expected=one.names[1], found=one.names[0])
        for one in done
    ]


def _lone_relations(target: Catalog, current: Catalog) -> dict[Key, Key]:
    """Relations that only one side has, with the key of their own state."""
    found: dict[Key, Key] = {}
    for kind in KINDS:
        if kind.relation:
            targets, currents = target.of(kind.state), current.of(kind.state)
            for key in targets.keys() ^ currents.keys():
                state = targets.get(key) or currents[key]
                found[state.relation] = key
    return found


def _own(lone: Mapping[Key, Key], state: State) -> Key | None:
    return lone[state.relation] if state.relation is not None else None


def _of_object(kind: str, target: State | None, current: State | None) -> Iterator[Difference]:
    state = target or current
    assert state is not None
    name = state.title().removeprefix(f"{kind} ")
    if isinstance(state, UnmanagedState):
        yield from _of_unmanaged(target, current)
        return
    if isinstance(state, SettingState):
        yield _of_setting(state, target, current)
        return
    if isinstance(state, GrantState):
        yield from _of_grants(name, target, current)
        return
    if target is None or current is None:
        yield Difference(kind, name, "", target and name, current and name)
        return
    expected, found = target.details(), current.details()
    for detail in expected:
        if expected[detail] != found[detail]:
            yield Difference(kind, name, detail, expected[detail], found[detail])


def _of_setting(state: SettingState, target: Any, current: Any) -> Difference:
    """What has the default is in neither catalog."""
    default = None if state.name in ("comment", "default") else "default"
    expected, found = (default if side is None else side.value for side in (target, current))
    return Difference(state.type, state.on, state.name, expected, found)


def _of_unmanaged(target: Any, current: Any) -> Iterator[Difference]:
    """What is found; the expected value is that of the same object made by the models."""
    if current is None:
        return
    expected = current.expected if target is None else target.found
    found = current.found if current.detail else current.name
    mend = current.mend
    if EXPECTED in mend:
        if expected is None:
            # A part of something that the models do not have, which its own kind reports.
            return
        mend = mend.replace(EXPECTED, expected)
    yield Difference(current.type, current.name, current.detail, expected, found, mend)


def _of_grants(name: str, target: State | None, current: State | None) -> Iterator[Difference]:
    """Role by role, and of each privilege only the columns that differ."""
    expected = target.privileges if isinstance(target, GrantState) else frozenset()
    found = current.privileges if isinstance(current, GrantState) else frozenset()
    missing, more = by_role(expected - found), by_role(found - expected)
    for role in sorted(missing.keys() | more.keys()):
        yield Difference("grant", name, role, missing.get(role), more.get(role))


def lines(found: Sequence[Difference]) -> list[str]:
    """One line for each difference, in columns: class, kind, full name, what differs."""
    kinds = max((len(one.kind) for one in found), default=0)
    names = min(60, max((len(one.name) for one in found), default=0))
    classes = max((len(one.mended) for one in found), default=0)
    return [
        f"{one.mended:<{classes}}  {one.kind:<{kinds}} {one.name:<{names}}   {one.what()}"
        for one in found
    ]


LONG = 200
"""Of texts that are longer, a line shows the part where they differ; JSON has them whole."""
_BEFORE = 40


def _texts(expected: Any, found: Any) -> tuple[str, str]:
    """Both values on one line, so that the reader sees what differs."""
    texts = _text(expected), _text(found)
    if texts[0] == texts[1]:
        # Only white space does, or the type.
        texts = repr(expected), repr(found)
    if max(map(len, texts)) <= LONG:
        return texts
    if (by_line := _by_line(expected, found)) is not None:
        return by_line
    return _parts(*texts)


def _parts(expected: str, found: str) -> tuple[str, str]:
    """Of long texts, from shortly before where they differ."""
    if max(len(expected), len(found)) <= LONG:
        return expected, found
    pairs = enumerate(zip(expected, found, strict=False))
    common = next((i for i, (a, b) in pairs if a != b), min(len(expected), len(found)))
    first = max(common - _BEFORE, 0)
    return _part(expected, first), _part(found, first)


def _by_line(expected: Any, found: Any) -> tuple[str, str] | None:
    """Of texts of several lines the first that differs, and how many do; None of other values."""
    lines = [
        [" ".join(one.split()) for one in str(text).splitlines() if one.strip()]
        for text in (expected, found)
    ]
    matched = SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes()
    changed = [(range(a, b), range(c, d)) for tag, a, b, c, d in matched if tag != "equal"]
    if min(map(len, lines)) < 2 or not changed:
        return None
    first = list(zip(changed[0], lines, strict=True))
    shown = _parts(*(text[part.start] if part else "" for part, text in first))
    texts = [
        f"line {part.start + 1}: {line}" if part else "no such line"
        for (part, _), line in zip(first, shown, strict=True)
    ]
    more = sum(max(map(len, one)) for one in changed) - 1
    if more:
        texts[1] += f" (and {more} more {'line' if more == 1 else 'lines'})"
    return texts[0], texts[1]


def _part(text: str, first: int) -> str:
    start, rest = ("…" if first else ""), text[first:]
    return start + (rest if len(rest) <= LONG else rest[: LONG - 1] + "…")


def _text(value: Any) -> str:
    """A value on one line."""
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "nothing"
    return " ".join(str(value).split())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _privileges(text: str) -> str:
    return ", ".join(_upper(part) for part in sql.split_list(text))


def _upper(privilege: str) -> str:
    name, _, columns = privilege.partition(" (")
    return f"{name.upper()} ({columns}" if columns else name.upper()
