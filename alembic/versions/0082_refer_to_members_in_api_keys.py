"""refer to members in API keys

Revision 0082, after 0081; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0082"
down_revision = "0081"


# accept ban-drop-constraint: one that is stricter follows
# accept require-concurrent-index-deletion: a tenant has few API keys
# accept require-concurrent-index-creation: the same
# accept constraint-missing-not-valid: the same
# accept adding-foreign-key-constraint: the same
def upgrade() -> None:
    # Who is no member of the tenant never was, or has left, as ON DELETE SET NULL has it from now on.
    op.execute(
        "DO $$\n"
        "declare\n"
        "  of_session text := current_setting('role');\n"
        "begin\n"
        "  perform set_config('role', 'fleet_operator', true);\n"
        "  update public.api_keys k set created_by = null\n"
        "   where created_by is not null\n"
        "     and not exists (select from public.tenant_members m\n"
        "                      where m.tenant_id = k.tenant_id and m.user_id = k.created_by);\n"
        "  perform set_config('role', of_session, true);\n"
        "end $$"
    )
    op.remove_constraint("api_keys", "fk_api_keys_created_by")
    op.remove_index("ix_api_keys_created_by", "api_keys")
    op.alter_column(
        "api_keys", "created_by", existing_type=sa.UUID(),
        comment="The member who created it; NULL: no member, or one who has left.", existing_comment="users.id",
        existing_nullable=True,
    )
    op.create_index(op.f("ix_api_keys_created_by"), "api_keys", ["tenant_id", "created_by"], unique=False)
    op.add_constraint(
        "api_keys", "fk_api_keys_created_by",
        "FOREIGN KEY(tenant_id, created_by) REFERENCES tenant_members (tenant_id, user_id) ON DELETE SET NULL"
            " (created_by)",
    )


def downgrade() -> None:
    op.remove_constraint("api_keys", "fk_api_keys_created_by")
    op.drop_index(op.f("ix_api_keys_created_by"), table_name="api_keys")
    op.alter_column(
        "api_keys", "created_by", existing_type=sa.UUID(), comment="users.id",
        existing_comment="The member who created it; NULL: no member, or one who has left.", existing_nullable=True,
    )
    op.add_index(
        "CREATE INDEX ix_api_keys_created_by ON public.api_keys USING btree (created_by) WHERE"
            " across.tenants(tenant_id)",
    )
    op.add_constraint(
        "api_keys", "fk_api_keys_created_by", "FOREIGN KEY (created_by) REFERENCES public.users(id) ON DELETE SET NULL",
    )
