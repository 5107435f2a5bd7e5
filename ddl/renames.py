"""What was renamed, rather than dropped and created: what can be, is likely, and was said.

Whether a table or column with another name is the same one, no catalog says; the model, an option
or a person does. What is equal but for its name is renamed without a question, for nothing can be
lost. Either is carried out by :mod:`ddl.renaming`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from alembic.util import CommandError
from sqlalchemy import MetaData

from ddl import sql
from ddl.base import Declared, Key
from ddl.catalog import Catalog
from ddl.columns import ColumnState
from ddl.json_values import json_of
from ddl.kind import Kind
from ddl.kinds import KINDS
from ddl.kinds.function import FunctionState
from ddl.kinds.schema import SchemaState
from ddl.kinds.table import TableState
from ddl.likeness import SIMILAR, WIDTH, is_equal, of_functions, selected
from ddl.rollups import RollupState
from ddl.shadow import Comparison

RENAMED = {kind.name: kind for kind in KINDS if kind.rename}
"""The kinds of which one can get another name, in the order of the registry."""


@dataclass(frozen=True)
class Rename:
    """An object of the database, and the one of the models that it has or may have become."""

    kind: str
    old: Key
    new: Key
    shape: str = ""
    """What the two have in common, in words; empty where a rename is not likely."""
    now: Key = ()
    """The old key once the schema or table was renamed in which it is."""
    decided: bool = False
    """True where the model or an option says so, a person, or that nothing else differs."""

    @property
    def option(self) -> str:
        """As ``-x rename=`` takes it: ``sites.city:sites.town``."""
        return f"{_spelled(self.kind, self.old)}:{_spelled(self.kind, self.new)}"

    @property
    def names(self) -> tuple[str, str]:
        """Both names, with what is before them only where that differs."""
        place = 1 if self.kind == "function" else -1
        if self.now[:place] == self.new[:place]:
            return self.now[place], self.new[place]
        return _spelled(self.kind, self.old), _spelled(self.kind, self.new)

    @property
    def full_names(self) -> tuple[str, str]:
        """Both names with the schema."""
        old, new = (".".join(part for part in key if part) for key in (self.old, self.new))
        return old, new

    @property
    def command(self) -> str:
        """What writes a revision in which it is a rename."""
        option = "" if self.decided else f"-x {shlex.quote(f'rename={self.option}')} "
        return f"alembic {option}revision --autogenerate"

    def __str__(self) -> str:
        old, new = self.full_names
        return f"{self.kind} {old} to {new}"


Ask: TypeAlias = Callable[[Rename], bool]


@dataclass(frozen=True)
class Answers:
    """What a person says: ``given`` as options, ``ask`` where someone can be asked.

    Where ``carry_out`` is False, the differences are told as if nothing were renamed.
    """

    given: Sequence[str] = ()
    ask: Ask | None = None
    carry_out: bool = True


def _spelled(kind: str, key: Key) -> str:
    """As a person writes it: without the default schema, of a function the name alone."""
    parts = key[:2] if kind == "function" else key
    if len(parts) > 1 and parts[0] == sql.DEFAULT_SCHEMA:
        parts = parts[1:]
    return ".".join(sql.ident(part) for part in parts)


# --- decide ----------------------------------------------------------------------------------


class _Given:
    """One option: ``sites.city:sites.town``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.used = False
        one = rf"(?:{sql.IDENT})(?:\.(?:{sql.IDENT}))*"
        match = re.fullmatch(rf"({one}):({one})", text)
        if match is None:
            raise CommandError(
                f"-x rename={text}: expected old:new, such as sites:places for a table or "
                "sites.city:sites.town for a column"
            )
        self.old, self.new = (
            tuple(sql.unquoted(part) for part in re.findall(sql.IDENT, side))
            for side in match.groups()
        )

    def means(self, kind: str, old: Key, now: Key, new: Key) -> bool:
        """Whether it names these two; a column's table may have its old or its new name."""
        return self._is(kind, self.new, new) and any(
            self._is(kind, self.old, key) for key in (old, now)
        )

    @staticmethod
    def _is(kind: str, parts: Key, key: Key) -> bool:
        named = key[:2] if kind == "function" else key
        return parts == named or (len(named) > 1 and (sql.DEFAULT_SCHEMA, *parts) == named)


class Decisions:
    """Which renames are meant; of those that nobody decided, the likely ones are left."""

    def __init__(
        self,
        found: Comparison,
        beside: Catalog,
        schemas: Sequence[str],
        metadata: MetaData,
        answers: Answers,
    ) -> None:
        self.target = found.target
        self.current = Catalog([*found.current.states(), *beside.states()])
        self.schemas = schemas
        self.existing = {state.name for state in found.current.of(SchemaState).values()}
        self.former = Declared.on(metadata).former
        self.answers = answers
        self.chosen: list[Rename] = []
        self.left: list[Rename] = []
        self._given = [_Given(text) for text in answers.given]
        self._possible: list[Rename] = []
        self._of_table: dict[Catalog, dict[Key, set[Any]]] = {}

    def decide(self) -> None:
        """Schemas, then tables, then their columns, then what else can have another name.

        Raises:
            alembic.util.CommandError: an option is no rename that is possible.
        """
        self._contradicted()
        used, models = (
            {key[:1] for key in self.current.of(TableState)},
            {(schema,) for schema in self.schemas},
        )
        new = {key for key in models if key[0] not in self.existing}
        self._choose("schema", used - models, new, self._of_schemas)
        tables = self.current.of(TableState).keys(), self.target.of(TableState).keys()
        self._choose("table", *tables, self._of_tables)
        kept = {self._now("table", key) for key in tables[0]} & tables[1]
        columns = [
            key for key in self.current.of(ColumnState) if self._now("table", key[:2]) in kept
        ]
        targets = [key for key in self.target.of(ColumnState) if key[:2] in kept]
        self._choose("column", columns, targets, self._of_columns)
        for kind in RENAMED.values():
            if kind.relation and kind.state is not TableState:
                before, after = (
                    [key for key, state in side.of(kind.state).items() if state.part_of is None]
                    for side in (self.current, self.target)
                )
                self._choose(kind.name, before, after, functools.partial(self._of_kind, kind))
        for given in self._given:
            if not given.used:
                raise CommandError(self._refusal(given))

    def _contradicted(self) -> None:
        for (kind, new), old in self.former.items():
            if kind == "table" and self.target.get((kind, old)) and self.current.get((kind, old)):
                raise CommandError(
                    f"table {'.'.join(new)}: RenamedFrom({_spelled(kind, old)!r}), but the models"
                    f" still declare {'.'.join(old)}; remove the one or the other"
                )

    def _choose(
        self,
        kind: str,
        before: Collection[Key],
        after: Collection[Key],
        shape: Callable[[Key, Key], str],
    ) -> None:
        """First what was said, then what is likely, the likeliest first."""
        now = {key: self._now(kind, key) for key in before}

        def is_near(old: Key, new: Key) -> bool:
            if kind == "function":  # one of several of its name
                return old[2] == new[2]
            return kind != "column" or now[old][:2] == new[:2]

        pairs = [
            (given, old, new)
            for given in self._given
            for old in now
            for new in after
            if given.means(kind, old, now[old], new) and is_near(old, new)
        ]
        # Names may go round, or one may take the name that another gives up.
        olds, news = {now[old] for _, old, _ in pairs}, {new for _, _, new in pairs}
        there, here = set(now.values()), set(after)
        for given, old, new in pairs:
            if (now[old] not in here or now[old] in news) and (new not in there or new in olds):
                given.used = True
                one = Rename(kind, old, new, now=now[old], decided=True)
                if kind == "column":
                    self._is_in_json(one)
                self.chosen.append(one)
        taken = {one.old for one in self.chosen}, {one.new for one in self.chosen}
        gone = sorted(old for old in now if now[old] not in here and old not in taken[0])
        added = sorted(new for new in here if new not in there and new not in taken[1])
        found = [
            Rename(kind, old, new, shape(old, new), now[old])
            for old in gone
            for new in added
            if is_near(old, new)
        ]
        if kind == "column":
            found = [one for one in found if not self._is_in_json(one)]
        self._possible += found
        open_ = []
        for one in sorted(found, key=self._likeness, reverse=True):
            if one.old in taken[0] or one.new in taken[1]:
                continue
            if self._is_declared(one) or (one.shape and self._is_agreed(one)):
                self.chosen.append(dataclasses.replace(one, decided=True))
                taken[0].add(one.old)
                taken[1].add(one.new)
            elif one.shape and self.answers.ask is None:
                open_.append(one)
        self.left += [one for one in open_ if one.old not in taken[0] and one.new not in taken[1]]

    def _is_in_json(self, one: Rename) -> bool:
        """Whether one of two columns has values of a JSON column, by the name that it has there.

        Raises:
            alembic.util.CommandError: someone says that it is a rename.
        """
        sides: Any = self.current.get(("column", one.old)), self.target.get(("column", one.new))
        into = next(filter(None, (json_of(side.comment) for side in sides)), None)
        if into is not None and (one.decided or self._is_declared(one)):
            raise CommandError(
                f"rename of {one}: expected a column with values of its own; of this one some rows"
                f" have them in {into}, by its name, which a rename would not reach; declare"
                f" {one.new[2]} beside it, and remove {one.old[2]} when nothing writes it any more"
            )
        return into is not None

    def _is_declared(self, one: Rename) -> bool:
        former = self.former.get((one.kind, one.new))
        if former is None:
            return False
        return former[2] == one.old[2] if one.kind == "column" else former == one.old

    def _is_agreed(self, one: Rename) -> bool:
        return self.answers.ask is not None and self.answers.ask(one)

    def _now(self, kind: str, key: Key) -> Key:
        """The key after what was chosen so far; of a column, that with its table's new name."""
        if kind == "column":
            return (*self._now("table", key[:2]), key[2])
        for one in self.chosen:
            if (one.kind, one.old) == (kind, key):
                return one.new
            if one.kind == "schema" and one.old[0] == key[0] and kind != "schema":
                return (one.new[0], *key[1:])
        return key

    def _refusal(self, given: _Given) -> str:
        options = [one.option for one in sorted(self._possible, key=self._likeness, reverse=True)]
        possible = f"possible: {', '.join(options[:12])}" if options else "there is none"
        return (
            f"-x rename={given.text}: expected something of the database that no model declares"
            f" any longer, and something of its kind that only the models have; {possible}"
        )

    # --- what two objects have in common, in words ---

    def _of_schemas(self, old: Key, new: Key) -> str:
        same, whole = self._same(self._tables(self.current, old), self._tables(self.target, new))
        return f"{same} of {whole} tables have the same names" if same > whole / 2 else ""

    def _of_tables(self, old: Key, new: Key) -> str:
        same, whole = self._same(self._columns(self.current, old), self._columns(self.target, new))
        return f"{same} of {whole} columns are the same" if same / whole >= SIMILAR else ""

    def _of_columns(self, old: Key, new: Key) -> str:
        before: Any = self.current.get(("column", old))
        after: Any = self.target.get(("column", new))
        alike = (before.type, before.generated, before.identity is None) == (
            after.type,
            after.generated,
            after.identity is None,
        )
        return f"both are {after.type}" if alike else ""

    def _of_kind(self, kind: Kind[Any], old: Key, new: Key) -> str:
        """Sequences, functions, and whatever has a query."""
        before: Any = self.current.get((kind.name, old))
        after: Any = self.target.get((kind.name, new))
        equal = is_equal(before, after)
        if kind.rename_asked:
            return "they count alike" if equal else ""
        if equal:
            return ""  # it is renamed without a question
        if kind.state is FunctionState:
            return of_functions(before, after)
        same, whole = self._same(*(selected(state.definition) for state in (before, after)))
        if same / whole >= SIMILAR:
            return f"{same} of {whole} columns are the same"
        # Columns of what it reads may have other names, too, and history is the dearest to lose.
        widths = [WIDTH.findall(state.definition) for state in (before, after)]
        alike = kind.state is RollupState and widths[0] and widths[0] == widths[1]
        return f"both have buckets of {widths[0][0]}" if alike else ""

    def _likeness(self, one: Rename) -> tuple[Any, ...]:
        """What was declared comes first; then the shape decides, then the names."""
        close = 0.0
        if one.kind == "table":
            same, whole = self._same(
                self._columns(self.current, one.old), self._columns(self.target, one.new)
            )
            close = same / whole
        elif one.kind == "column":
            before = self.current.get(("column", one.old))
            after = self.target.get(("column", one.new))
            same_fields = ("not_null", "default", "comment")
            close = sum(getattr(before, name) == getattr(after, name) for name in same_fields)
        names = difflib.SequenceMatcher(None, ".".join(one.old), ".".join(one.new)).ratio()
        return (self._is_declared(one), bool(one.shape), close, names)

    @staticmethod
    def _same(before: set[Any], after: set[Any]) -> tuple[int, int]:
        return len(before & after), max(len(before), len(after), 1)

    def _tables(self, side: Catalog, schema: Key) -> set[Any]:
        return {key[1] for key in side.of(TableState) if key[0] == schema[0]}

    def _columns(self, side: Catalog, table: Key) -> set[Any]:
        """(name, type) of each column."""
        if side not in self._of_table:
            found: dict[Key, set[Any]] = {}
            for key, state in side.of(ColumnState).items():
                found.setdefault(key[:2], set()).add((state.name, state.type))
            self._of_table[side] = found
        return self._of_table[side].get(table, set())
