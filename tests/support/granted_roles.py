"""Roles of no project, to which the tests of ``ddl`` grant."""

from __future__ import annotations

import sqlalchemy as sa

ROLES = ("r_app", "r_op", "r_read", "r_owner", "Mixed Case")
"""They belong to the cluster, so that fixtures make and drop them."""


def make_roles(connection: sa.Connection) -> None:
    for role in ROLES:
        connection.execute(
            sa.text(
                f'DO $$ BEGIN CREATE ROLE "{role}"; EXCEPTION WHEN duplicate_object THEN NULL;'
                " END $$"
            )
        )
