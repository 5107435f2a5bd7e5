"""A copy of the project that declares metrics on top of the stock models, as its user would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Ratio, milliseconds
from benchmarks.place import BenchmarkError, Place
from tests.support.alembic_project import alembic, copy_project, environment
from tests.support.commands import ROOT

_METRICS = """
from models.shared.metrics import Metric

METRICS = (
{lines}
)
"""
_ATTRIBUTES = """
from models.shared.attributes import Attribute

ATTRIBUTES = (
{lines}
)
"""


def make(
    project: Path, place: Place, metrics: dict[str, dict[str, str]], attributes: dict[str, str]
) -> Path:
    """Declare, generate the revision, and migrate the place's database.

    Args:
        metrics: message type to metric to type.
        attributes: of devices, to their types.

    Raises:
        BenchmarkError: a command failed; its output follows.
    """
    copy_project(project)
    lines = [
        f"    Metric({name!r}, {kind!r}, message_type={message_type!r}),"
        for message_type, names in metrics.items()
        for name, kind in names.items()
    ]
    text = _METRICS.format(lines="\n".join(lines))
    (project / "models" / "telemetry" / "metrics.py").write_text(text)
    lines = [f"    Attribute({name!r}, {kind!r})," for name, kind in attributes.items()]
    text = _ATTRIBUTES.format(lines="\n".join(lines))
    (project / "models" / "device" / "attributes.py").write_text(text)
    for arguments in (("revision", "--autogenerate", "-m", "fleet"), ("upgrade", "head")):
        done = alembic(*arguments, url=_url(place), cwd=project)
        if done.returncode:
            raise BenchmarkError(f"alembic {arguments[0]}: {done.stdout}{done.stderr}")
    return project


def ingested(project: Path, place: Place, rounds: int) -> Iterator[Ratio]:
    """Messages through the copy's ingest, against COPY row by row into tables without it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.typed_ingest", str(rounds)],
        cwd=project,
        env=environment(_url(place), PYTHONPATH=f"{project}:{ROOT}"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"benchmarks.typed_ingest: {done.stdout}{done.stderr}")
    for peer, what, target in (
        ("bare", "COPY row by row into a bare hypertable of the same columns and key", 0.9),
        ("typed", "COPY row by row into typed tables without a key", None),
    ):
        pairs = [(one, other) for one, other in json.loads(done.stdout)[peer]]
        yield Ratio(
            "questions",
            f"ingest() into declared metrics : {what}",
            [other / one for one, other in pairs],
            target,
            detail=f"20,000 messages: {milliseconds(pairs)}",
        )


def _url(place: Place) -> str:
    return place.engine.url.render_as_string(hide_password=False)
