"""Industrial data collection: data sources, their tags and protocols."""

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
