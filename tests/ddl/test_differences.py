"""The lines of ``alembic check``: what differs is to be seen in them."""

from __future__ import annotations

import pytest

from ddl.differences import LONG, Difference

SAME = "(a = 1) AND " * 40


@pytest.mark.parametrize(
    ("expected", "found", "line"),
    [
        ("CHECK (a < 1)", "CHECK (a < 2)", "expected CHECK (a < 1), found CHECK (a < 2)"),
        ("begin\n  end", "begin end", r"expected 'begin\n  end', found 'begin end'"),
        ("'x  y'", "'x y'", '''expected "'x  y'", found "'x y'"'''),
        (None, "", "expected None, found ''"),
        (
            f"{SAME}b < 1",
            f"{SAME}b < 2",
            f"expected …{SAME[-36:]}b < 1, found …{SAME[-36:]}b < 2",
        ),
        (
            f"begin\n  a := 1;\n  {SAME}\n  b := 1;\nend",
            f"begin\n  a := 2;\n{SAME}\n  b := 1;\n  c := 1;\n  c := 2;\nend",
            "expected line 2: a := 1;, found line 2: a := 2; (and 2 more lines)",
        ),
        (
            f"begin\n{SAME}\n  x;\nend",
            f"begin\n{SAME}\nend",
            "expected line 3: x;, found no such line",
        ),
        (
            f"begin\n{SAME}a = 1;\nend",
            f"begin\n{SAME}a = 2;\nend",
            f"expected line 2: …{SAME[-36:]}a = 1;, found line 2: …{SAME[-36:]}a = 2;",
        ),
        (None, f"x{SAME}", f"expected nothing, found {f'x{SAME}'[: LONG - 1]}…"),
    ],
)  # fmt: skip
def test_a_line_shows_what_differs(expected: object, found: object, line: str) -> None:
    assert Difference("constraint", "public.t.c", "it", expected, found).what() == f"it: {line}"


def test_json_has_the_whole_text() -> None:
    found = Difference("constraint", "public.t.c", "it", f"{SAME}1", f"{SAME}2").as_dict()
    assert (found["expected"], found["found"]) == (f"{SAME}1", f"{SAME}2")
