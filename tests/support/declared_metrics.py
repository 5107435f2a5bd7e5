"""A copy of the project whose telemetry has metrics with columns, and messages for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.alembic_project import alembic, copy_project, environment

METRICS = '''
"""The metrics of messages that have a column of their own."""

from models.shared.metrics import Metric

METRICS = (
    Metric("speed", "double precision", unit="m/s", message_type="readings"),
    Metric("load", "integer", message_type="diagnostics", comment="Of the axle."),
    Metric("odometer", "bigint"),
    Metric("moving", "boolean"),
    Metric("order", "text"),
    # Names that statements and functions of ours have for something else.
    Metric("t", "double precision"),
    Metric("by", "text"),
    Metric("chunk", "boolean"),
)
'''
NAMES = ("speed", "load", "odometer", "moving", "order", "t", "by", "chunk")

SENT: list[tuple[str, dict[str, Any]]] = [
    (
        "readings",
        {"speed": 0.1, "moving": True, "order": "a\tb\\né", "odometer": 2**62, "x": 1}
        | {"t": 2.5, "by": "bus", "chunk": False},
    ),
    (
        "readings",
        {"speed": 7, "load": 3, "moving": False, "order": "", "odometer": -1, "by": 4, "chunk": 4},
    ),
    ("readings", {"speed": 2**60 + 1, "odometer": 2**63, "moving": 1, "order": 5}),
    ("readings", {"speed": "fast", "odometer": 1.5, "moving": "yes", "order": ["a"]}),
    ("readings", {"speed": None, "odometer": None, "moving": None, "order": None}),
    ("readings", {"speed": 1e-300, "odometer": 4.0}),
    ("readings", {"speed": -0.0}),
    ("readings", {"speed": True, "odometer": False}),
    ("readings", {"speed": {"a": 1}}),
    ("readings", {}),
    ("diagnostics", {"load": 2**31 - 1, "speed": 3.5, "odometer": 12}),
    ("diagnostics", {"load": 2**31, "y": {"z": [None]}}),
    ("diagnostics", {"load": -(2**31), "odometer": 12}),
    ("telemetry", {"load": 4, "speed": 5}),
]
"""Message types and metrics: values that fit their column, and values that do not."""


def declare(project: Path, url: str, metrics: str = METRICS) -> str:
    """Write the metrics into a copy of the project, generate the revision; its text."""
    if not project.exists():
        copy_project(project)
    (project / "models" / "telemetry" / "metrics.py").write_text(metrics.lstrip())
    before = set(project.glob("alembic/versions/*.py"))
    made = alembic("revision", "--autogenerate", "-m", "metrics", url=url, cwd=project)
    assert made.returncode == 0, made.stdout + made.stderr
    (path,) = set(project.glob("alembic/versions/*.py")) - before
    return path.read_text(encoding="utf-8")


def migrate(project: Path, url: str, *arguments: str) -> None:
    """Run alembic in the copy, which must succeed."""
    done = alembic(*arguments, url=url, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


def run_python(project: Path, url: str, program: str) -> str:
    """What a program prints that imports the copy."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env=environment(url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
