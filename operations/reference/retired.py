"""What earlier releases brought and this one does not any more.

Taking a row out of the reference leaves it in every database: rows that this code does not know
may be an operator's own, or of a newer release that was rolled back. Name it here as well, and
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
