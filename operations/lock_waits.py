"""For whom a statement of a command waits: what it needs, and the sessions that hold it.

The error that ends such a wait names neither. So a session of its own looks while the statement
runs, and what it saw last becomes a note of the error, which `database.errors.server_message` adds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

LOCK_TIMEOUT = "10s"
"""How long a statement of a command waits for a lock, where neither its login nor the command says.

Longer than a transaction of a service lasts, and shorter than a person waits for a prompt."""

AFTER = 1.0
"""Seconds of a statement after which somebody looks, and between two looks."""

_KEY = "fleetschema_lock_watch"

# While it waits for the end of the transaction that changed or locked a row, a session keeps the
# lock of the tuple, which names the table; not if it found the row by a unique key, and then it is
# one of the tables that both work on.
_WAITS = """
SELECT coalesce('table ' || w.relation::regclass, 'a row of ' || t.relation::regclass,
                CASE w.locktype WHEN 'advisory' THEN 'an advisory lock'
                                WHEN 'transactionid' THEN 'a row' || coalesce(' of ' || (
                                  SELECT string_agg(DISTINCT mine.relation::regclass::text, ' or ')
                                    FROM pg_locks mine
                                    JOIN pg_class c ON c.oid = mine.relation AND c.relkind = 'r'
                                    JOIN pg_locks theirs USING (relation, mode)
                                   WHERE mine.pid = w.pid AND mode = 'RowExclusiveLock'
                                     AND theirs.pid = ANY (pg_blocking_pids(w.pid))), '')
                                ELSE 'a lock (' || w.locktype || ')' END) AS what
  FROM pg_locks w
  LEFT JOIN pg_locks t ON t.pid = w.pid AND t.locktype = 'tuple' AND t.granted
 WHERE w.pid = %(pid)s AND NOT w.granted
 LIMIT 1
"""
_HOLDERS = """
SELECT DISTINCT b.pid, a.usename AS login, a.application_name AS application, a.state,
       date_trunc('second', clock_timestamp() - a.xact_start)::text AS since
  FROM unnest(pg_blocking_pids(%(pid)s)) AS b (pid) LEFT JOIN pg_stat_activity a ON a.pid = b.pid
 ORDER BY b.pid
"""


def limit_waits(engine: Engine) -> None:
    """Give each session `LOCK_TIMEOUT` if its login has none, and its timeouts a note for whom.

    Args:
        engine: without a pool, whose sessions are not handed on, and to the server itself.
    """
    event.listen(engine, "connect", _set_timeout)
    event.listen(engine, "before_cursor_execute", _begin)
    event.listen(engine, "after_cursor_execute", _end)
    event.listen(engine, "handle_error", _note)


def _set_timeout(connection: psycopg.Connection[Any], _: object) -> None:
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false) WHERE current_setting('lock_timeout') = '0'",
        (LOCK_TIMEOUT,),
    )
    connection.commit()


class Watch:
    """Looks, as long as a statement runs, for whom it waits."""

    def __init__(self, engine: Engine, pid: int) -> None:
        self._engine = engine
        self._pid = pid
        self._seen = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> str:
        """Stop looking; what was seen last, as text: what, and who holds it. Empty: nothing."""
        self._over.set()
        self._thread.join()
        return self._seen

    def _look(self) -> None:
        if self._over.wait(AFTER):
            return
        # Without a session left for it nothing is known of holders, and the timeout ends the wait.
        with suppress(Exception), closing(self._engine.raw_connection()) as borrowed:
            driver = borrowed.driver_connection
            assert driver is not None
            driver.autocommit = True
            with driver.cursor(row_factory=namedtuple_row) as cursor:
                while True:
                    waits = cursor.execute(_WAITS, {"pid": self._pid}).fetchone()
                    holders = cursor.execute(_HOLDERS, {"pid": self._pid}).fetchall()
                    if waits and holders:
                        self._seen = _said(waits.what, holders)
                    if self._over.wait(AFTER):
                        return


@contextmanager
def watched(connection: Connection) -> Iterator[None]:
    """The same note for statements of the driver's own cursors."""
    driver = connection.connection.driver_connection
    assert driver is not None
    watch = Watch(connection.engine, driver.info.backend_pid)
    try:
        yield
    except LockNotAvailable as error:
        if seen := watch.end():
            error.add_note(seen)
        raise
    finally:
        watch.end()


def _said(what: str, holders: list[Any]) -> str:
    listed = "; ".join(map(_holder, holders))
    ends = ", ".join(f"SELECT pg_terminate_backend({one.pid})" for one in holders if one.pid)
    if not ends:
        ends = "ROLLBACK PREPARED (pg_prepared_xacts)"
    return (
        f"it waited for {what}, which is held by {listed}: wait for their end, or end them as a "
        f"superuser by {ends}"
    )


def _holder(one: Any) -> str:
    if not one.pid:
        return "a prepared transaction"
    more = [f"login {one.login or 'unknown'}"]
    if one.application:
        more.append(f"application {one.application}")
    if one.state:
        more.append(one.state)
    if one.since:
        more.append(f"in a transaction for {one.since}")
    return f"pid {one.pid} ({', '.join(more)})"


def _begin(connection: Connection, *_: object) -> None:
    driver = connection.connection.driver_connection
    if driver is not None:
        connection.info[_KEY] = Watch(connection.engine, driver.info.backend_pid)


def _end(connection: Connection, *_: object) -> str:
    watch: Watch | None = connection.info.pop(_KEY, None)
    return "" if watch is None else watch.end()


def _note(context: ExceptionContext) -> None:
    if context.connection is None:
        return
    seen = _end(context.connection)
    if seen and isinstance(context.original_exception, LockNotAvailable):
        context.original_exception.add_note(seen)
