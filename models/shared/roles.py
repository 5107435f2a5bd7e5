"""The database roles, by least privilege. None of them can log in.

Roles belong to the cluster, not to a database, so they are no part of a revision: the migration
runner makes them before the first one. A login role is granted exactly one of them.
"""

from __future__ import annotations

from typing import NamedTuple


class Role(NamedTuple):
    """A role without login and what it is for."""

    name: str
    comment: str


ROLES: tuple[Role, ...] = (
    Role(
        "fleet_app",
        "The application, bound to one tenant: sees and writes the rows of current_tenant().",
    ),
    Role(
        "fleet_ingest",
        "Writes measurements of every tenant and reads only what names and authenticates a device.",
    ),
    Role(
        "fleet_auth",
        "Signs people and API keys in, before a tenant is known: accounts, sessions, members.",
    ),
    Role(
        "fleet_operator_read",
        "Reads every tenant for support and checks; no credentials, no writing.",
    ),
    Role(
        "fleet_operator",
        "Works across tenants by policy, never by BYPASSRLS: provisioning, billing, reference "
        "data, tenant deletion.",
    ),
)

ROLE_NAMES: tuple[str, ...] = tuple(role.name for role in ROLES)
