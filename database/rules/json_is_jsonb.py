"""JSON is stored as jsonb.

``json`` has no equality, no index and no operators for keys; it keeps the spelling of a document,
which nothing here needs.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT name AS object, spelled AS found FROM columns WHERE type = 'json'::regtype""",
    expected="jsonb",
    fix="in the model map it as dict[str, Any] or list[Any]",
    broken_by=(("ALTER TABLE sites ADD x json", "sites.x", "json"),),
    kept_by=("ALTER TABLE sites ADD x jsonb",),
)
