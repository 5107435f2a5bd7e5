"""Telemetry: what devices and tags measured, their health, and what could not be accepted."""

from models.telemetry import connections, health, messages, metrics, quarantine, tags

__all__ = ["connections", "health", "messages", "metrics", "quarantine", "tags"]
