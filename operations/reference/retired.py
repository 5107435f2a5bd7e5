"""Reference data of earlier releases that this one does not have any more.

A row that is removed from the reference data stays in every database: rows that this code does
not know may be an operator's own, or of a newer release that was rolled back. Named here as well,
it is no longer sold (tiers, plans), or deleted once nothing refers to it (everything else).
"""

from __future__ import annotations

RETIRED: dict[str, tuple[str, ...]] = {
    "account_tiers": (),
    "device_plans": (),
    "permissions": (),
    "role_templates": (),
    "units_of_measure": (),
    "device_templates": (),
}
"""Table to names: tier_id, plan_id, action, name, name, slug."""
