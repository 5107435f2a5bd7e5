"""${message}

Revision ${up_revision}, after ${down_revision or "none"}; CONTRIBUTING.md says what to look for when reading it.
"""

<%! from ddl.source import indented, string %>\
import sqlalchemy as sa
from alembic import op
% if imports:
${imports}
% endif

revision = ${string(up_revision)}
down_revision = ${string(down_revision) if down_revision else None}


def upgrade() -> None:
    ${indented(upgrades or "pass")}


def downgrade() -> None:
    ${indented(downgrades or "pass")}
