"""The metrics of messages that have a column of their own; see docs/adding-a-metric.md."""

from __future__ import annotations

from models.shared.metrics import Metric

METRICS: tuple[Metric, ...] = ()
