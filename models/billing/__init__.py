"""Billing: plans, subscriptions and usage."""

from models.billing import plans, subscriptions, usage

__all__ = ["plans", "subscriptions", "usage"]
