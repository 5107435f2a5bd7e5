"""There is no native enum.

The operators of enums are not leakproof, so row-level security would keep their conditions from
using an index. Text with a CHECK also gains and loses values without a rewrite of the type.
"""

from tests.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT y.oid::regtype::text AS object, 'an enum' AS found
          FROM pg_type y JOIN ours ON ours.oid = y.typnamespace
         WHERE y.typtype = 'e'""",
    expected="text with a CHECK",
    fix='map the column as Mapped[str] and write one_of("column", (…)) in __table_args__',
    broken_by=(("CREATE TYPE mood AS ENUM ('good')", "mood", "an enum"),),
    kept_by=("ALTER TABLE sites ADD mood text CHECK (mood IN ('good'))",),
)
