"""Python and SQL text: written, laid out and parsed."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddl import source, sql
from ddl.kinds.function import FunctionState

# --- Python text ---

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\\n\r\t%:$"))
VALUES = st.recursive(
    TEXT | st.booleans() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_call_means_its_arguments(positional: list[Any], keywords: dict[str, Any]) -> None:
    """Also laid out, and after Alembic's template has put white space before every line."""
    for text in (line := source.call("name", positional, keywords), source.arranged(line)):
        body = "if True:\n" + re.sub(r"(?m)^", "        ", text)
        call = ast.parse(body).body[0].body[0].value  # type: ignore[attr-defined]
        assert ast.unparse(call.func) == "op.name"
        assert [ast.literal_eval(argument) for argument in call.args] == positional
        assert {k.arg: ast.literal_eval(k.value) for k in call.keywords} == keywords


@given(TEXT)
def test_strings_have_the_quotes_that_a_formatter_chooses(value: str) -> None:
    quote = "'" if '"' in value and "'" not in value else '"'
    assert source.string(value).startswith(quote)


SHORT = "op.create_index(op.f('ix_a'), 'a', ['b'])"
WORDS = ("word " * 16).strip()
LONG = f"sa.Column('name', sa.Text(), nullable=False, comment='{WORDS}')"


def test_layout_fills_the_lines() -> None:
    text = (
        f"# ### commands ###\n{SHORT}\nop.create_table('a', {LONG}, {LONG})\n# keep\n# ### end ###"
    )
    assert source.arranged(text).splitlines() == [
        'op.create_index(op.f("ix_a"), "a", ["b"])',
        "",
        "op.create_table(",
        '    "a",',
        *(
            '    sa.Column("name", sa.Text(), nullable=False,',
            f'        comment="{WORDS}"),',
        )
        * 2,
        ")",
        "# keep",
    ]


def test_layout_keeps_the_lines_of_a_body() -> None:
    text = "op.create_function('f', returns='int', body='begin\\n  return 1;\\nend')"
    assert source.arranged(text).splitlines() == [
        "op.create_function(",
        '    "f", returns="int",',
        "    body=(",
        r'        "begin\n"',
        r'        "  return 1;\n"',
        '        "end"',
        "    ),",
        ")",
    ]


# --- SQL text ---


@given(TEXT)
def test_dollar_quotes_hold_any_body(body: str) -> None:
    quoted = sql.dollar_quoted(body)
    tag = quoted[: quoted.index("$", 1) + 1]
    assert quoted.index(tag, len(tag)) == len(tag) + len(body)
    assert quoted == f"{tag}{body}{tag}"


@given(TEXT)
def test_escaped_text_is_the_text(value: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.dialects import postgresql

    compiled = text(sql.escaped(value)).compile(dialect=postgresql.dialect(paramstyle="named"))
    assert str(compiled) == value


@given(st.text("ab\"' .%Ü", min_size=1), st.booleans())
def test_identifier_round_trip(name: str, upper: bool) -> None:
    name = name.upper() if upper else name
    assert sql.unquoted(sql.ident(name)) == name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("a int", ["a int"]),
        ("a  numeric(10, 2),\n b text", ["a numeric(10, 2)", "b text"]),
        ("a text DEFAULT 'x, (y'", ["a text DEFAULT 'x, (y'"]),
        ("a int DEFAULT f(1, g(2), 3), b int[]", ["a int DEFAULT f(1, g(2), 3)", "b int[]"]),
        (
            '"a,b" int, c int DEFAULT (ARRAY[1, 2])[1]',
            ['"a,b" int', "c int DEFAULT (ARRAY[1, 2])[1]"],
        ),
        ("a text DEFAULT 'it''s  two'", ["a text DEFAULT 'it''s  two'"]),
    ],
)
def test_split_list(text: str, parts: list[str]) -> None:
    assert sql.split_list(text) == parts


@pytest.mark.parametrize(
    ("arguments", "signature"),
    [
        ("", ""),
        ("a int DEFAULT 3, b text = 'x = y', c date := now()", "a int, b text, c date"),
        ("a text default 'a, b default c', OUT b numeric(10,2)", "a text, OUT b numeric(10,2)"),
        ("\"default x\" int, VARIADIC b int[] DEFAULT '{}'", '"default x" int, VARIADIC b int[]'),
    ],
)
def test_signature_is_the_arguments_without_defaults(arguments: str, signature: str) -> None:
    assert FunctionState("f", arguments).signature == signature


@pytest.mark.parametrize(
    ("language", "body", "expected"),
    [
        ("sql", "RETURN 1", True),
        ("sql", "return(1)", True),
        ("sql", "BEGIN\n  ATOMIC SELECT 1; END", True),
        ("sql", "SELECT 1", False),
        ("sql", "", False),
        ("sql", "returning", False),
        ("plpgsql", "begin return 1; end", False),
    ],
)
def test_standard_body(language: str, body: str, expected: bool) -> None:
    assert FunctionState("f", language=language, body=body).standard_body is expected
