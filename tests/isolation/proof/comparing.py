"""What was reached, against what the page allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.isolation.proof.asking import Answer
from tests.isolation.proof.page import ALL, JUDGED, OWN, SOME, Page
from tests.isolation.proof.probes import READ
from tests.isolation.proof.relations import Relation, expected
from tests.isolation.proof.tenants import ONE, TWO

FREE = {"SELECT", "EXPLAIN", "LOCK ACCESS SHARE", "COPY TO", "pg_sequence_last_value"}
"""What everybody may do with what the server keeps, unless a tenant's row would show."""


def compare(
    page: Page,
    relations: Mapping[str, Relation],
    role: str,
    answers: Iterable[Answer],
    version: int,
    *,
    context: bool = True,
) -> list[str]:
    """A line for each operation that reached more or less than the page says."""
    found: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        found.setdefault((answer.probe.relation, answer.probe.operation), []).append(answer)
    lines = []
    for (name, operation), several in found.items():
        relation = relations[name]
        allowed = _allowed(page, relation, role, operation, version)
        if allowed in (OWN, SOME) and not context:
            allowed = ""
        if not _fits(relation, role, operation, allowed, several, context):
            reached = frozenset().union(*(one.reached for one in several))
            said = {
                f"{one.state} {one.text} <- {one.probe.statement}"
                for one in several
                if one.reached or allowed
            }
            lines.append(
                f"{role} {operation} {name}: expected {allowed or 'nothing'},"
                f" found {', '.join(sorted(reached)) or 'nothing'} ({'; '.join(sorted(said))})"
            )
    return lines


def _allowed(page: Page, relation: Relation, role: str, operation: str, version: int) -> str:
    if operation not in page.needs or relation.of_server or relation.kind in ("S", "t"):
        return ""
    return expected(page, relation, role, operation, version)


def _fits(
    relation: Relation,
    role: str,
    operation: str,
    allowed: str,
    several: list[Answer],
    context: bool,
) -> bool:
    """Whether an operation reached exactly the rows that are allowed."""
    reached = frozenset().union(*(one.reached for one in several))
    if relation.of_server:
        # Operators see every row of series, so their statistics, too.
        sees = role.startswith("fleet_operator") or TWO.mark not in reached
        return not reached or (operation in FREE and sees)
    if not allowed:
        return not reached
    if operation == "SELECT" and "tenant_id" not in relation.columns and relation.is_view:
        return not context or all(one.state == "" for one in several)
    if operation == "COPY TO":
        [one] = several
        return reached <= {ONE.mark} if allowed == OWN else one.state == ""
    if operation != "SELECT" and all(one.probe.reaches in ("", READ) for one in several):
        return reached == {"yes"} or any(one.raised for one in several)
    # A trigger refused a row of one's own; or it was there already.
    passed = {
        one.probe.reaches
        for one in several
        if one.raised or (operation == "ON CONFLICT DO NOTHING" and one.state == "")
    }
    if allowed == ALL:
        return reached | passed >= (
            {ONE.mark, TWO.mark}
            if operation == "SELECT"
            else {one.probe.reaches for one in several}
        )
    if allowed == JUDGED:
        return all(one.state == "" for one in several)
    if allowed == SOME:
        return reached <= {ONE.mark}
    return reached == {ONE.mark} or (not reached and ONE.mark in passed)
