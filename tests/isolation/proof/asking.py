"""Sends probes in blocks of PL/pgSQL, where each is undone, and says what they reached."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from tests.isolation.proof.probes import READ, Probe
from tests.isolation.proof.tenants import ONE, TWO

RAW = {"no_parameters": True}
BATCH = 1500

REFUSED = {
    "42501": "permission denied, or a row refused by a policy",
    "44000": "check option",
}
IMPOSSIBLE = {
    "55000": "a view that cannot be written to",
    "0A000": "not supported",
    "42809": "not for this kind of relation",
    "428C9": "a column that is always generated",
    "XX001": "a parent of compressed chunks, which TimescaleDB does not plan",
    "XX000": "cannot lock or change what the server keeps so",
}
WITHOUT_CONTEXT = {
    "22P02": "a tenant that is no UUID",
    "28000": "a token that is none, or has expired",
}

BEFORE_POLICIES = {
    "INSERT",
    "INSERT RETURNING",
    "ON CONFLICT DO NOTHING",
    "ON CONFLICT DO UPDATE",
    "MERGE INSERT",
    "COPY FROM",
    "MOVE TO ANOTHER TENANT",
}
"""Operations with new rows, which triggers see before the policy does."""

# Every statement in a subtransaction that an error ends: ours carries what there was.
_BLOCK = """DO $proof$
DECLARE
    one text;
    seen text;
    number bigint;
    statements text[];
    raised text;
    answers text[] := '{}';
BEGIN
    -- Not in the loop itself, whose cursor would be in pg_cursors with all of them.
    SELECT array_agg(s) INTO statements FROM jsonb_array_elements_text($json$%s$json$) s;
    FOREACH one IN ARRAY statements LOOP
        BEGIN
            IF left(one, 1) = '?' THEN
                EXECUTE substr(one, 2) INTO seen;
            ELSE
                EXECUTE one;
                GET DIAGNOSTICS number = ROW_COUNT;
                seen := number;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = coalesce(seen, '');
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS raised = PG_EXCEPTION_CONTEXT;
            answers := answers || (SQLSTATE || CASE WHEN raised ~ '^PL/pgSQL function (?!inline_)'
                                               THEN '!' ELSE ' ' END || SQLERRM);
        END;
    END LOOP;
    PERFORM set_config('proof.answers', to_json(answers)::text, true);
END $proof$"""


@dataclass(frozen=True)
class Answer:
    """What a probe reached: marks of tenants, "rest", "yes"; and the error, if one came."""

    probe: Probe
    reached: frozenset[str]
    state: str
    text: str
    raised: bool = False
    """Whether a trigger or function refused it, which the row itself may have deserved."""


@dataclass
class Tally:
    """How much was tried: the figures of the report."""

    statements: int = 0
    relations: set[str] = field(default_factory=set)
    states: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.statements += other.statements
        self.relations |= other.relations
        self.states += other.states


def ask(
    connection: Connection, probes: Iterable[Probe], context: bool, tally: Tally
) -> list[Answer]:
    """Try each probe in the transaction of the connection; nothing of it stays.

    ``context`` says whether a tenant is set properly, so that an error about it would be news.
    """
    listed = list(probes)
    found: list[Answer] = []
    for first in range(0, len(listed), BATCH):
        batch = listed[first : first + BATCH]
        found += [
            judged(probe, answer, context)
            for probe, answer in zip(batch, _sent(connection, batch), strict=True)
        ]
    tally.statements += len(listed)
    tally.relations |= {probe.relation for probe in listed}
    tally.states.update(answer.state for answer in found)
    return found


def _sent(connection: Connection, batch: Sequence[Probe]) -> list[str]:
    statements = [("?" if probe.reaches == READ else "") + probe.statement for probe in batch]
    block = _BLOCK.replace("%s", json.dumps(statements))
    connection.exec_driver_sql(block, execution_options=RAW)
    answers = connection.exec_driver_sql("SELECT current_setting('proof.answers')").scalar_one()
    result: list[Any] = json.loads(answers)
    return result


def judged(probe: Probe, answer: str, context: bool) -> Answer:
    """What an answer means: the SQLSTATE, "!" where a function raised it, or " "; the message."""
    state, raised, text = answer[:5], answer[5] == "!", answer[6:]
    if state == "ZZ999":
        if probe.reaches == READ:
            names = {"one": ONE.mark, "two": TWO.mark}
            seen = frozenset(names.get(one, one) for one in text.split(",") if one)
        elif probe.reaches:
            seen = frozenset({probe.reaches} if text != "0" else ())
        else:
            seen = frozenset({"yes"})
        return Answer(probe, seen, "", text)
    refused = state in REFUSED or state in IMPOSSIBLE
    if not context and state in WITHOUT_CONTEXT:
        refused = True
    # A trigger may judge a row before a policy does; of a row that is there, it tells that it is.
    judged = raised and probe.operation in BEFORE_POLICIES
    seen = frozenset() if refused or judged else frozenset({probe.reaches or "yes"})
    # Any other error came after the privilege and the policy let the statement pass.
    return Answer(probe, seen, state, text, raised)
