"""Where something fails, nothing of the batch is stored, and the error says what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool

from database.engine import make_async_engine, make_engine
from database.ingest import Ingested, IngestError, Message, async_ingest, ingest
from database.ingest import quarantine as quarantine_module
from database.ingest.messages import Batch
from tests.support.telemetry import (
    count,
    message,
)


def kill_others(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("after", [0, 1, 400])
def test_a_killed_connection_leaves_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    sent = [message(n, metrics={"t": "x" * 1000}) for n in range(500)]
    sent.append(message(501, device_id="nobody"))
    encoder = Batch._encoder

    def deadly(batch: Batch) -> Callable[..., Any]:
        encode, seen = encoder(batch), []

        def wrapped(source: Any, messages: list[Message], *rest: Any) -> Any:
            if len(seen) <= after < len(seen) + len(messages):
                kill_others(engine)
            seen.extend(messages)
            return encode(source, messages, *rest)

        return wrapped

    pooled = make_engine(engine.url)
    with monkeypatch.context() as patched:
        patched.setattr(Batch, "_encoder", deadly)
        with pytest.raises(IngestError, match="deliver it again"):
            ingest(pooled, sent)
    assert (count(engine), count(engine, "quarantine_events")) == (0, 0)
    assert ingest(pooled, sent) == Ingested(500, 0, 1)
    pooled.dispose()


def test_a_failure_at_the_end_takes_all_of_it_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "statement", lambda: "SELECT 1 / %(zero)s")
    monkeypatch.setattr(quarantine_module, "parameters", lambda batch: {"zero": 0})
    with pytest.raises(IngestError, match="nothing of a batch of 2 records was stored: division"):
        ingest(engine, [message(1), message(2, metrics=None)])
    assert count(engine) == 0


def test_a_missing_table_says_what_to_run(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("REVOKE INSERT ON timeseries.telemetry FROM fleet_ingest")
    with pytest.raises(IngestError, match=r"permission denied.*; run `alembic upgrade head`, then"):
        ingest(engine, [message(1)])


def test_an_unreachable_server_raises(engine: Engine) -> None:
    nowhere = make_engine("postgresql://nobody@127.0.0.1:1/none", poolclass=NullPool)
    with pytest.raises(IngestError, match="nothing of a batch of 1 records was stored"):
        ingest(nowhere, [message(1)])


def test_asyncio_leaves_nothing_of_a_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        quarantine_module, "statement", lambda: "SELECT pg_terminate_backend(pg_backend_pid())"
    )
    monkeypatch.setattr(quarantine_module, "parameters", lambda batch: {})

    async def run() -> None:
        await async_ingest(
            make_async_engine(engine.url, poolclass=NullPool), [message(1), message(2, ts=None)]
        )

    with pytest.raises(IngestError, match="nothing of a batch of 2"):
        asyncio.run(run())
    assert count(engine) == 0
