"""SQL that PostgreSQL spells in its own way, and differently when it parses that again."""

from __future__ import annotations

import re

CONDITIONS = (
    "a BETWEEN 1 AND 5 AND b BETWEEN 1 AND 5",
    "a NOT BETWEEN 1 AND 5 OR b NOT BETWEEN 2 AND 3",
    "a BETWEEN SYMMETRIC 5 AND 1 AND flag",
    "a NOT BETWEEN SYMMETRIC 5 AND 1 OR flag",
    "b BETWEEN a AND a + 5 AND (flag OR a BETWEEN 3 AND 4)",
    "s IN ('x', 'y')",
    "s NOT IN ('x', 'y')",
    "c IN ('x', 'y')",
    "s::text IN ('x', 'y') AND a IN (1, 2, 3)",
    "txt LIKE ANY (ARRAY['a%', 'b%'])",
    "s LIKE ANY (ARRAY['a%', 'b%'])",
    "s NOT LIKE ALL (ARRAY['a%', 'b%'])",
    r"txt ILIKE 'a\_%' AND s NOT ILIKE 'x!%' ESCAPE '!'",
    "txt SIMILAR TO '(a|b)%'",
    "s ~ '^[0-9]+$'",
    "a IS DISTINCT FROM b AND a IS NOT DISTINCT FROM 3",
    "(a = 1) IS TRUE AND flag IS NOT UNKNOWN",
    "CASE WHEN a BETWEEN 1 AND 2 THEN b > 1 WHEN s IN ('x', 'y') THEN flag ELSE NOT flag END",
    "CASE s WHEN 'x' THEN 1 WHEN 'y' THEN 2 END > 1",
    "COALESCE(s, 'x') <> NULLIF(s, 'y') AND GREATEST(a, b, 3) > LEAST(a, b)",
    "EXTRACT(year FROM d) > 2000",
    "(ts AT TIME ZONE 'UTC')::date > '2020-01-01'",
    "(d::timestamp, d + time '12:00') OVERLAPS (d - interval '1 day', interval '3 h')",
    "arr[1:2] = ARRAY[1, 2] AND arr[2] > 1",
    "1 = ANY (arr) AND arr @> '{1}' AND a <> ALL (ARRAY[2, 3])",
    "j -> 'a' ->> 'b' = 'x' AND j #>> '{a,b}' = 'y' AND j ? 'a'",
    "j @? '$.a[*] ? (@ > 2)'",
    "j['a'] = '1'",
    "a = 1 AND (b = 2 AND (txt = 'x' AND flag))",
    "((a = 1 AND b = 2) AND txt = 'x') OR NOT (flag OR NOT (a = 2 OR b = 3))",
    "a = 1 OR (b = 2 OR flag) OR a = 4",
    "NOT NOT (NOT flag)",
    "(a, b) < (1, 2)",
    "(a, b) IN ((1, 2), (3, 4))",
    "(a, b) IS DISTINCT FROM (1, 2) AND ROW(a, b) IS NOT NULL",
    "iv > INTERVAL '90 minutes' AND iv < '1 day 1 hour'::interval hour",
    r"txt <> E'it''s\n a \\ tab\t'",
    r"s <> 'a\b'",
    "(a::numeric(5,1))::text::varchar(3) <> 'x' AND n::int::bigint > 5",
    "CAST(n AS double precision)::real BETWEEN 1.5 AND 2",
    "a OPERATOR(pg_catalog.+) b > 3",
    """txt COLLATE "C" < 'x' AND s COLLATE "C" IN ('x', 'y')""",
    "a + b * 2 - (a - (b - 1)) > 0",
    "-a < -(-b) AND a % 2 = 0 AND |/ a > @ b",
    "a::bit(4) <> B'0101' AND x'ff'::int > a",
    "trim(BOTH ' ' FROM txt) <> '' AND substring(txt FROM 1 FOR 2) <> 'x'",
    "position('a' IN txt) > 0 AND overlay(txt PLACING 'x' FROM 1) <> 'x'",
    "r && int4range(1, 5) AND ip << inet '10.0.0.0/8'",
    "num_nonnulls(a, b) = 1",
    "length(s) BETWEEN 1 AND 5 AND s || 'x' IN ('xx', 'yx')",
)
"""Conditions over the columns of ``t``; immutable, so that an index may have them."""

COLUMNS = ("a", "b", "s", "c", "txt", "ts", "d", "n", "j", "arr", "flag", "iv", "r", "ip")


def of_row(condition: str, row: str) -> str:
    """The condition over the columns of OLD or NEW; within literals it does not matter."""
    return re.sub(rf"(?<![\w.:])(?:{'|'.join(COLUMNS)})\b", rf"{row}.\g<0>", condition)


QUERIES = (
    "SELECT id FROM t WHERE a IN (SELECT u.a FROM u WHERE u.b BETWEEN 1 AND 5 AND u.a > t.b)",
    "SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.a = t.a AND u.b BETWEEN 1 AND 5)",
    "SELECT id, a > ALL (SELECT u.b FROM u WHERE s IN ('x', 'y')) AS x FROM t",
    (
        "SELECT id, sum(b) OVER (PARTITION BY s ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"
        " EXCLUDE TIES) AS x, rank() OVER w AS y FROM t WINDOW w AS (ORDER BY a DESC NULLS LAST)"
    ),
    (
        "SELECT a, b, count(*) AS n FROM t GROUP BY GROUPING SETS ((a, b), (a), ())"
        " HAVING count(*) BETWEEN 1 AND 5 AND a IN (1, 2)"
    ),
    "SELECT a, b, grouping(a, b) AS g FROM t GROUP BY ROLLUP (a, b), CUBE (s)",
    (
        "SELECT t.id, l.m FROM t CROSS JOIN LATERAL (SELECT max(u.b) AS m FROM u"
        " WHERE u.a = t.a AND u.b BETWEEN 1 AND 5) l"
    ),
    "SELECT t.id, u.b FROM t LEFT JOIN u ON u.a = t.a AND u.b BETWEEN 1 AND 5 AND t.s IN ('x')",
    "SELECT a, t.b FROM t JOIN u USING (a) NATURAL JOIN (SELECT a, 1 AS k FROM u) v",
    (
        "WITH x AS MATERIALIZED (SELECT a FROM t WHERE b BETWEEN 1 AND 5 AND flag),"
        " y AS NOT MATERIALIZED (SELECT a FROM u) SELECT x.a FROM x JOIN y ON x.a = y.a"
    ),
    (
        "WITH RECURSIVE x (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM x"
        " WHERE n BETWEEN 1 AND 5 AND n <> 4) SELECT n FROM x"
    ),
    "SELECT v.k, v.l FROM (VALUES (1, 'x'), (2, 'y')) AS v (k, l) WHERE l IN ('x', 'y')",
    (
        "(SELECT a FROM t EXCEPT SELECT a FROM u) UNION ALL (SELECT b FROM t INTERSECT SELECT a FROM u)"
        " ORDER BY 1 LIMIT 3 OFFSET 1"
    ),
    (
        "SELECT count(*) FILTER (WHERE a BETWEEN 1 AND 5 AND b = 1) AS n,"
        " string_agg(DISTINCT s, ', ' ORDER BY s DESC) AS l,"
        " percentile_cont(0.5) WITHIN GROUP (ORDER BY a) AS p FROM t"
    ),
    "SELECT id FROM t TABLESAMPLE BERNOULLI (10) REPEATABLE (1) WHERE a BETWEEN 1 AND 5 AND flag",
    (
        "SELECT DISTINCT ON (s) s, ts AT TIME ZONE 'Europe/Berlin' AS x, EXTRACT(epoch FROM ts) AS y"
        " FROM t ORDER BY s, ts DESC FETCH FIRST 3 ROWS WITH TIES"
    ),
    (
        "SELECT t.id, o.v, o.k FROM t, unnest(t.arr) WITH ORDINALITY AS o (v, k),"
        " ROWS FROM (generate_series(1, 2), unnest(ARRAY['x', 'y'])) AS f (p, q)"
    ),
    "SELECT id, row_to_json(t.*) AS whole, (t).s AS part, ARRAY(SELECT u.a FROM u) AS list FROM t",
    (
        "SELECT date_trunc('day', ts, 'Europe/Berlin') AS x, now() - INTERVAL '1 hour 30 minutes' AS y,"
        " CURRENT_DATE AS z, s::char(2) AS w FROM t WHERE ts > now() - make_interval(days => a)"
    ),
)
"""Queries over the tables ``t`` and ``u``."""

DEFAULTS = {
    "boolean": "(1 BETWEEN 0 AND 2 AND (3 BETWEEN 1 AND 5 AND 1 = 1))",
    "text": "CASE WHEN CURRENT_USER::varchar IN ('x', 'y') THEN 'x'::varchar ELSE 'y' END",
    "varchar(5)": "COALESCE(NULLIF('x', 'y'), 'z')",
    "timestamptz": "now() - INTERVAL '90 minutes'",
    "date": "((now() AT TIME ZONE 'UTC')::date + 1)",
    "integer[]": "(ARRAY[1, 2, 3])[1:2]",
    "jsonb": "jsonb_build_object('a', (1, 2) < (1, 3) AND 2 BETWEEN 1 AND 3)",
}
"""Defaults by the type of their column."""
