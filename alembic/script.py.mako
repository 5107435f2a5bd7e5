"""${message}

Revision ${up_revision}, after ${down_revision or "none"}. Read it before it is released:
- a statement waits for its lock while everybody queues behind it, so nothing may scan or rewrite
  a busy table in one step, and the code of the previous release must work after it;
- data is changed as fleet_operator: forced row security hides every row from the owner;
- nothing reads the database: `--sql` has to write all of it.
"""

% if not upgrades or "sa." in upgrades + downgrades:
import sqlalchemy as sa
% endif
% if imports:
${imports}
% endif
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
