"""Industrial data collection: sources, their tags, and what they speak."""

from models.connectivity import (
    brokers,
    connections,
    ethernet_ip,
    mqtt,
    publishing,
    sparkplug,
    tags,
    units,
)

__all__ = [
    "brokers",
    "connections",
    "ethernet_ip",
    "mqtt",
    "publishing",
    "sparkplug",
    "tags",
    "units",
]
