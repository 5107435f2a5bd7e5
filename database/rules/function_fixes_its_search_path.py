"""A function whose body is text fixes its search_path.

PostgreSQL looks up the names in such a body at each call, along the path of the session that calls.
A caller could put an object of their own first and have it run with other rights. A body that
begins with RETURN or BEGIN ATOMIC is bound to its objects when the function is created.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT name AS object, coalesce(array_to_string(proconfig, ', '), 'no settings') AS found
          FROM functions
         WHERE prosqlbody IS NULL AND lanname NOT IN ('c', 'internal')
           AND NOT EXISTS (SELECT FROM unnest(proconfig) s WHERE s LIKE 'search\\_path=%')""",
    expected="a fixed search_path",
    fix="write settings=PLPGSQL_SETTINGS in its Function(…), or a body with BEGIN ATOMIC",
    broken_by=(
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'begin return 1; end'",
            "f()",
            "no settings",
        ),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "f()", "no settings"),
        (
            "ALTER FUNCTION set_updated_at() RESET search_path",
            "set_updated_at()",
            "no settings",
        ),
    ),
    kept_by=("CREATE FUNCTION f() RETURNS int RETURN 1",),
)
