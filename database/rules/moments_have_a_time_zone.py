"""A column that holds a moment has a time zone.

``timestamp`` and ``time`` mean whatever the time zone of the session happens to be; ``timestamptz``
is the same moment for every reader.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT name AS object, spelled AS found FROM columns
         WHERE type IN ('timestamp'::regtype, 'timetz'::regtype)""",
    expected="timestamp with time zone",
    fix="in the model map it as datetime.datetime, without a type of its own",
    broken_by=(
        ("ALTER TABLE sites ADD at timestamp", "sites.at", "timestamp without time zone"),
        ("ALTER TABLE sites ADD at timestamp[]", "sites.at", "timestamp without time zone[]"),
    ),
    kept_by=("ALTER TABLE sites ADD at timestamptz, ADD day date",),
)
