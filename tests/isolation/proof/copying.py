"""COPY, which no block of PL/pgSQL can send: to the client, and from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from sqlalchemy import Connection

from ddl.sql import ident
from tests.isolation.proof.asking import Answer, judged
from tests.isolation.proof.page import Page
from tests.isolation.proof.probes import CONTEXTS, Probe, Prober
from tests.isolation.proof.relations import Relation
from tests.isolation.proof.tenants import ONE, TWO, Filled
from tests.support.generated_rows import Row

UNDO = "ROLLBACK TO SAVEPOINT copy"


def copied(
    connection: Connection, page: Page, filled: Filled, relations: list[Relation], role: str
) -> Iterator[Answer]:
    """Try to COPY each relation as the role of the connection, which has no transaction yet."""
    driver: Any = connection.connection.driver_connection
    driver.execute(CONTEXTS["own"]())
    driver.execute("SET LOCAL fleetschema.judged = 'on'; SAVEPOINT copy")
    for relation in relations:
        prober = Prober(page, filled, relation, role)
        if relation.kind in ("r", "p", "m", "f") and relation.columns:
            yield _out(driver, prober)
        for owner in (ONE, TWO) if "I" in relation.held(page, role) else (ONE,):
            if relation.kind in ("r", "p", "v"):
                yield _in(driver, prober, prober.fresh(owner), owner.mark)
    driver.rollback()


def _out(driver: psycopg.Connection[Any], prober: Prober) -> Answer:
    name = prober.relation.name
    # COPY does not take generated columns.
    copied = [one for one in prober.selected if one in prober.relation.written]
    columns = ", ".join(map(ident, copied))
    statement = f"COPY {name} ({columns}) TO STDOUT"
    probe = Probe(name, "COPY TO", "", statement)
    try:
        with driver.cursor().copy(statement.encode()) as copy:
            text = b"".join(copy).decode(errors="replace")
    except psycopg.Error as error:
        driver.execute(UNDO)
        return judged(probe, f"{error.sqlstate} {error}", True)
    marks = {owner.mark for owner in (ONE, TWO) if owner.mark in text or str(owner.tenant) in text}
    return Answer(probe, frozenset(marks or (["rest"] if text else [])), "", text[:80])


def _in(driver: psycopg.Connection[Any], prober: Prober, row: Row, mark: str) -> Answer:
    """Values that are no literals are evaluated first, by the server."""
    columns = f" ({', '.join(map(ident, row))})" if row else ""
    given = f"COPY (SELECT {', '.join(row.values())}) TO STDOUT"
    with driver.cursor().copy(given.encode()) as copy:
        data = b"".join(copy)
    statement = f"COPY {prober.relation.name}{columns} FROM STDIN"
    probe = Probe(prober.relation.name, "COPY FROM", mark, statement)
    try:
        with driver.cursor().copy(statement.encode()) as copy:
            copy.write(data)
    except psycopg.Error as error:
        raised = "!" if (error.diag.context or "").startswith("PL/pgSQL function") else " "
        return judged(probe, f"{error.sqlstate}{raised}{error}", True)
    else:
        return Answer(probe, frozenset({mark}), "", "")
    finally:
        driver.execute(UNDO)
