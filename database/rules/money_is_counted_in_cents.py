"""Money is counted in integer cents.

Floating point cannot hold a tenth, so sums drift. The type ``money`` depends on a setting of the
server. ``numeric`` is for rates and factors that are no amounts.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT name AS object, spelled AS found FROM columns
         WHERE (attname ~ '(^|_)(cent|price|amount|cost|fee|balance|revenue|charge)s?(_|$)'
                AND type IN ('float4'::regtype, 'float8'::regtype))
            OR type = 'money'::regtype
            OR (attname LIKE '%\\_cents' AND type NOT IN ('int4'::regtype, 'int8'::regtype))""",
    expected="integer or bigint",
    fix="in the model name it …_cents and map it as int or BigInt",
    broken_by=(
        (
            "ALTER TABLE subscriptions ADD price float",
            "subscriptions.price",
            "double precision",
        ),
        ("ALTER TABLE subscriptions ADD x money", "subscriptions.x", "money"),
        (
            "ALTER TABLE subscriptions ADD paid_cents numeric",
            "subscriptions.paid_cents",
            "numeric",
        ),
    ),
    kept_by=("ALTER TABLE sites ADD cost_per_day_cents bigint",),
)
