"""What the database is: every table with its keys, isolation, functions and triggers.

``metadata`` holds all of it. ``DOMAINS`` and ``SCOPES`` say for each table which domain it
belongs to (auth, device, ...) and whose rows it holds (tenant, global, private). What the
domains share stands in ``models.shared``. A new domain is one more import.
"""

# Domains are imported for what they declare.
# ruff: noqa: F401

from __future__ import annotations

from sqlalchemy import Table

from ddl import check_models, check_roles
from models import (
    alert,
    auth,
    billing,
    connectivity,
    dashboard,
    device,
    monitoring,
    notification,
    system,
    telemetry,
)
from models.shared import functions
from models.shared.base import PLATFORM_TENANT_ID, SYSTEM_USER_ID, Base, TenantTimeSeries
from models.shared.ingest_views import check_registered
from models.shared.roles import ROLE_NAMES, ROLES
from models.system import retention_policies

__all__ = [
    "DOMAINS",
    "PLATFORM_TENANT_ID",
    "ROLES",
    "SCOPES",
    "SYSTEM_USER_ID",
    "Base",
    "metadata",
]

metadata = Base.metadata

DOMAINS: dict[str, str] = {}
"""Table to the domain that declares it; those of other schemas as in ``timeseries.telemetry``."""

SCOPES: dict[str, str] = {}
"""Table to ``tenant``, ``global`` or ``private``."""

for _mapper in Base.registry.mappers:
    if isinstance(_mapper.local_table, Table):
        DOMAINS[_mapper.local_table.key] = _mapper.class_.__module__.split(".")[1]
        SCOPES[_mapper.local_table.key] = _mapper.class_.__scope__
        if issubclass(_mapper.class_, TenantTimeSeries):
            check_registered(metadata, _mapper.local_table.name, _mapper.class_.__registered__)

DOMAINS = dict(sorted(DOMAINS.items()))
SCOPES = dict(sorted(SCOPES.items()))

Base.registry.configure()
check_models(metadata)
check_roles(metadata, ROLE_NAMES, declared_in="ROLES of models/shared/roles.py")
retention_policies.declare_bounds(metadata)
