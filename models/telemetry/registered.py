"""What messages, samples and events of devices refer to."""

from __future__ import annotations

from models.shared.judgement import Registered

# The others somebody stopped, or nobody can tell who uses their name.
DEVICE = Registered("device_id", "device_registry", only="r.status NOT IN ('suspended', 'revoked')")
TAG = Registered("tag_id", "tag_metadata", only="r.status <> 'deleted'", brings="connection_id")
CONNECTION = Registered("connection_id", "connections", key="id")
