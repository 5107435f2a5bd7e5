"""Telemetry in: batches of messages and records of other series, stored as ``fleet_ingest``.

Of each batch every record is stored, or corrects what was stored, or is skipped because it was
stored before, or is kept in ``quarantine_events`` with a reason; or, if anything fails on the way,
the call raises and nothing of the batch is stored. Delivering a batch again is always harmless, so
acknowledge what was received after the call has returned, and deliver again what was not
acknowledged.

Late, repeated and out-of-order records are welcome, in chunks of any age. Batches of 1,000 to
20,000 records make the best use of a round trip. Listeners on the channel ``telemetry`` get a
change notification when the batch is committed: one for each tenant with a stored message.
"""

from database.ingest.delivery import IngestError, async_ingest, ingest
from database.ingest.messages import Message
from database.ingest.records import (
    ConnectionEvent,
    DeviceHealth,
    EndpointCheck,
    Record,
    ServiceMetric,
    TagSample,
)
from database.ingest.steps import Ingested

__all__ = [
    "ConnectionEvent",
    "DeviceHealth",
    "EndpointCheck",
    "IngestError",
    "Ingested",
    "Message",
    "Record",
    "ServiceMetric",
    "TagSample",
    "async_ingest",
    "ingest",
]
