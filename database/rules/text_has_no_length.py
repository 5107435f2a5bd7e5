"""Text has no declared length.

``varchar(n)`` is no faster than ``text``, and a longer limit is a change of the type. ``char(n)``
pads with spaces. Where a length matters, a CHECK says which and why.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT name AS object, spelled AS found FROM columns
         WHERE type IN ('varchar'::regtype, 'bpchar'::regtype)""",
    expected="text",
    fix='in the model map it as Mapped[str], and limit it with CheckConstraint("length(…) <= …")',
    broken_by=(
        ("ALTER TABLE sites ADD x varchar(9)", "sites.x", "character varying(9)"),
        ("ALTER TABLE sites ADD x char(2)", "sites.x", "character(2)"),
    ),
    kept_by=("ALTER TABLE sites ADD x text CHECK (length(x) <= 9)",),
)
