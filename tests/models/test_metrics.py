"""What may be declared as a metric with a column of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Double
from sqlalchemy.exc import ArgumentError

from models.shared.metrics import Metric, add_columns, merged
from tests.support.alembic_project import alembic, copy_project, failure


@pytest.mark.parametrize(
    "name", ["", "fuel state", "Fuel", "1st", "ü", "a" * 64, 'a"b', "engine.rpm"]
)
def test_a_name_that_is_no_column_is_rejected(name: str) -> None:
    with pytest.raises(ArgumentError, match="expected the name of a column"):
        Metric(name, "text")


def test_an_unknown_type_is_rejected() -> None:
    with pytest.raises(ArgumentError, match=r"metric fuel: .* found \"real\""):
        Metric("fuel", "real")


@pytest.mark.parametrize("name", ["ts", "metrics", "tenant_id", "metadata"])
def test_the_name_of_another_attribute_is_rejected(name: str) -> None:
    class Series:
        ts = metrics = tenant_id = metadata = None

    with pytest.raises(ArgumentError, match=f"metric {name}: Series has an attribute {name}"):
        add_columns(Series, [Metric(name, "text")])


@pytest.mark.parametrize("name", ["__table__", "__mapper_args__", "_sa_class_manager"])
def test_a_name_of_sqlalchemy_is_rejected(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"metric {name}: SQLAlchemy keeps names"):
        add_columns(type("Series", (), {}), [Metric(name, "text")])


@pytest.mark.parametrize(
    "name", ["all_metrics", "numeric_metrics", "xmin", "_ts_meta_count", "seq"]
)
def test_a_name_that_means_something_else_fails_at_import(name: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    path = project / "models" / "telemetry" / "metrics.py"
    path.write_text(
        "from models.shared.metrics import Metric\n\n"
        f'METRICS: tuple[Metric, ...] = (Metric("{name}", "text"),)\n'
    )
    message = failure(alembic("check", url=None, cwd=project))
    assert name in message
    assert message.strip().count("\n") == 0


def test_a_metric_is_declared_once() -> None:
    class Series:
        pass

    with pytest.raises(ArgumentError, match=r"metric fuel: .* declare each metric once"):
        add_columns(Series, [Metric("fuel", "text"), Metric("fuel", "bigint")])


def test_the_comment_of_the_column_says_unit_and_message_type() -> None:
    metric = Metric("fuel", "bigint", "l", "diagnostics", "In the tank.")
    column = metric.column().column
    assert isinstance(column.type, BigInteger)
    assert column.nullable
    assert column.comment == (
        "In the tank. In l. Of messages of the type diagnostics. Its value is here or in metrics."
    )
    plain = Metric("fuel", "double precision").column().column
    assert isinstance(plain.type, Double)
    assert plain.comment == "A metric of the message. Its value is here or in metrics."


def test_many_metrics_are_merged_in_calls_of_at_most_a_hundred_arguments() -> None:
    text = merged([Metric(f"m{number}", "bigint") for number in range(120)])
    calls = text.split(" || ")
    assert [call.count("'m") for call in calls] == [0, 50, 50, 20]
