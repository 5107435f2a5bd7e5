"""Each column of JSON has a CHECK of the bytes that the server writes out for it.

Of 72 kB of numbers such as 1e131071 it writes 1.2 GB, which no dump of the database and no client
takes; and one such row is enough. The CHECK looks at the numbers first, which have to be those of
double precision, since the text would have to be made to be measured; in a series the length, of
524,288 bytes at most, is enough.
"""

from database.rules.rule import TENANT_TABLE, Rule

_ADD = f"{TENANT_TABLE} ALTER TABLE crates ADD x jsonb, ADD CHECK"
_NUMBERS = """'strict $.** ? (@.type() == "number" && (exists(@.double())) is unknown)'"""

RULE = Rule(
    query=r"""
        SELECT c.name AS object, 'none' AS found
          FROM columns c
         WHERE c.type = 'jsonb'::regtype AND NOT EXISTS (
               SELECT FROM pg_constraint k CROSS JOIN pg_get_constraintdef(k.oid) AS d,
                      substring(d from format('length\(\(%s\)::text\) <= (\d+)',
                                              quote_ident(c.attname))) AS most
                WHERE k.conrelid = c.table_oid AND k.contype = 'c' AND k.conkey = ARRAY[c.attnum]
                  AND (most::bigint <= 524288
                       OR most IS NOT NULL AND strpos(d, 'exists (@.double())') > 0))""",
    expected="a CHECK of its numbers and of the length of its text",
    fix="in the model map it as dict[str, Any] or list[Any] in a class of Base, which declares it",
    broken_by=(
        (f"{TENANT_TABLE} ALTER TABLE crates ADD x jsonb", "crates.x", "none"),
        (f"{TENANT_TABLE} ALTER TABLE crates ADD x jsonb[]", "crates.x", "none"),
        (f"{_ADD} (length(x::text) <= 600000)", "crates.x", "none"),
        (f"{_ADD} (NOT jsonb_path_exists(x, {_NUMBERS}))", "crates.x", "none"),
    ),
    kept_by=(
        f"{_ADD} (NOT jsonb_path_exists(x, {_NUMBERS}) AND octet_length(x::text) <= 600000)",
        f"{_ADD} (octet_length(x::text) <= 9)",
    ),
)
