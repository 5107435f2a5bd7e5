"""The database roles. Each has the least privileges it needs, and none can log in.

Roles belong to the cluster, not to a database, so revisions do not create them: the migration
runner does, before the first revision. A login role is granted exactly one of them.
"""

from __future__ import annotations

from typing import NamedTuple


class Role(NamedTuple):
    """A role without login, and its purpose."""

    name: str
    comment: str


ROLES: tuple[Role, ...] = (
    Role(
        "fleet_app",
        "The application, acting for one tenant: reads and writes rows of current_tenant().",
    ),
    Role(
        "fleet_ingest",
        "Writes measurements of all tenants; reads only what identifies and authenticates devices.",
    ),
    Role(
        "fleet_auth",
        "Sign-in of people and API keys, before a tenant is known: accounts, sessions, members.",
    ),
    Role(
        "fleet_operator_read",
        "Reads the rows of all tenants for support and checks; no credentials, no writes.",
    ),
    Role(
        "fleet_operator",
        "Works across tenants, by policies and without BYPASSRLS: provisioning, billing, "
        "reference data, deletion of tenants.",
    ),
)

ROLE_NAMES: tuple[str, ...] = tuple(role.name for role in ROLES)
