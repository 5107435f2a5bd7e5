"""Telemetry in: batches of messages, stored as ``fleet_ingest``.

Of each batch every message is either stored, or skipped because it was stored before, or kept in
``quarantine_events`` with a reason; or, if anything fails on the way, the call raises and nothing
of the batch is stored. Delivering a batch again is always harmless, so acknowledge messages
after the call has returned, and deliver again what was not acknowledged.

Late, repeated and disordered messages are welcome, in chunks of any age. Batches of 1,000 to
20,000 messages make the best use of a round trip. Listeners on the channel ``telemetry`` are told
when the batch is committed: once for each tenant in it, if anything was stored.
"""

from database.ingest.delivery import IngestError, async_ingest, ingest
from database.ingest.messages import Message
from database.ingest.steps import Ingested

__all__ = ["IngestError", "Ingested", "Message", "async_ingest", "ingest"]
