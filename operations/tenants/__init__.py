"""Tenants: created with all built-in data, deleted with all their rows."""
