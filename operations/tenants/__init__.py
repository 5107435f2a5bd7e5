"""Tenants: created with everything built in, deleted with all their rows."""
