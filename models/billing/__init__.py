"""Billing: what can be bought, what each tenant has bought, and what it used."""

from models.billing import plans, subscriptions, usage

__all__ = ["plans", "subscriptions", "usage"]
