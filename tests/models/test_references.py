"""What a tenant names by an id is its own, or nothing says that it exists."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from tests.support.acme_and_globex import ANN, EVE, operator, rows, run
from tests.support.alembic_project import config_for

KEY = """
    INSERT INTO api_keys (tenant_id, name, key_hash, key_prefix, created_by)
    VALUES (current_tenant(), 'k', :hash, 'abcd', :person)
"""

# Every column of ids that a tenant may write, but for the keys of its own rows.
UNREFERENCED = """
    SELECT format('%I.%I', c.relname, a.attname), col_description(c.oid, a.attnum)
      FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
       AND a.atttypid IN ('uuid'::regtype, 'uuid[]'::regtype)
       AND has_column_privilege('fleet_app', c.oid, a.attnum, 'INSERT, UPDATE')
       AND NOT EXISTS (SELECT FROM pg_constraint k
                        WHERE k.conrelid = c.oid AND k.contype IN ('f', 'p', 'u')
                          AND a.attnum = ANY (k.conkey))
     ORDER BY 1
"""


def test_an_api_key_is_created_by_a_member(fleet: Engine) -> None:
    """Of others it says the same words, whether there is such an account or not."""
    run(fleet, KEY, hash="a" * 64, person=ANN)
    said = []
    for person in (EVE, uuid.uuid4()):
        with pytest.raises(IntegrityError) as refused:
            run(fleet, KEY, hash="b" * 64, person=person)
        said.append(str(refused.value.orig).replace(str(person), "X"))
    assert said[0] == said[1]


def test_an_api_key_stays_when_its_member_leaves(fleet: Engine) -> None:
    run(fleet, KEY, hash="a" * 64, person=ANN)
    with operator(fleet) as connection:
        connection.execute(sa.text("UPDATE tenant_members SET is_owner = true"))
        connection.execute(sa.text("DELETE FROM tenant_members WHERE user_id = :p"), {"p": ANN})
        assert rows(connection, "SELECT created_by FROM api_keys") == [(None,)]


def test_an_upgrade_forgets_who_is_no_member(fleet: Engine) -> None:
    command.downgrade(config_for(fleet), "0081")
    for digit, person in enumerate((ANN, EVE)):
        run(fleet, KEY, hash=str(digit) * 64, person=person)
    command.upgrade(config_for(fleet), "head")
    with operator(fleet) as connection:
        found = rows(connection, "SELECT created_by FROM api_keys ORDER BY key_hash")
    assert found == [(ANN,), (None,)]


def test_ids_that_are_no_reference_say_so(fleet: Engine) -> None:
    """A reference would tell whether the row exists; without one nothing says that it does."""
    with fleet.connect() as connection:
        found = connection.execute(sa.text(UNREFERENCED)).all()
    assert len(found) > 10
    assert [name for name, comment in found if "foreign key" not in (comment or "")] == []
