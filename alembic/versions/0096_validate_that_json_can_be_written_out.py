"""validate that JSON can be written out

Revision 0096, after 0095; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0096"
down_revision = "0095"


def upgrade() -> None:
    # Others read and write meanwhile. A row of a tenant must not stop the upgrade: what cannot be validated is named
    # and left; but workers change many rows of some tables at once, and there one that is refused would stop them all.
    # Series are left out, which are compressed and would be read as a whole.
    op.execute(
        r"""DO $do$
declare
  of_session constant text := current_setting('role');
  one record;
  place tid;
begin
  for one in
    select k.conrelid::regclass as relation, k.conname, quote_ident(a.attname) as document,
           pg_get_expr(k.conbin, k.conrelid) as condition,
           c.relname in ('device_state', 'device_state_backlog', 'fleet_alert', 'jobs') as mended
      from pg_constraint k
      join pg_class c on c.oid = k.conrelid
      join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
     where k.conname like '%\_written\_out' and k.connamespace = 'public'::regnamespace and not k.convalidated
     order by c.relname, k.conname
  loop
    begin
      execute format('alter table %s validate constraint %I', one.relation, one.conname);
      continue;
    exception when check_violation or program_limit_exceeded or statement_too_complex or lock_not_available then
      raise warning '% is not validated: %', one.conname, sqlerrm;
    end;
    continue when not one.mended;
    begin
      perform set_config('role', 'fleet_operator', true);
      for place in execute format('select ctid from %s where not (%s)', one.relation, one.condition) loop
        execute format('update %s set %s = ''{}'' where ctid = $1', one.relation, one.document) using place;
      end loop;
      perform set_config('role', of_session, true);
      execute format('alter table %s validate constraint %I', one.relation, one.conname);
      raise warning '%.% is empty now where it could not be written out', one.relation, one.document;
    exception when others then
      raise warning '% is still not validated: %', one.conname, sqlerrm;
    end;
  end loop;
end $do$"""
    )


def downgrade() -> None:
    # Only a new constraint is not validated.
    op.execute(
        r"""DO $do$
declare
  one record;
begin
  for one in
    select k.conrelid::regclass as relation, k.conname, pg_get_constraintdef(k.oid) as definition
      from pg_constraint k
     where k.conname like '%\_written\_out' and k.connamespace = 'public'::regnamespace and k.convalidated
     order by 1, 2
  loop
    execute format('alter table %s drop constraint %I, add constraint %I %s not valid',
                   one.relation, one.conname, one.conname, one.definition);
  end loop;
end $do$"""
    )
