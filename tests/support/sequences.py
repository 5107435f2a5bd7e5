"""How the stateful tests draw their sequences: the same few in the suite, others when asked."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def run_sequences(
    machine: type[RuleBasedStateMachine], name: str, *, sequences: int, steps: int
) -> None:
    """Run ``sequences`` of ``steps`` each; NAME_SEQUENCES and NAME_STEPS say otherwise.

    With NAME_SEQUENCES each run draws others, with NAME_SHRINK a failure is made small.
    """
    given = {key: os.environ.get(f"{name}_{key}") for key in ("SEQUENCES", "STEPS", "SHRINK")}
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(given["SEQUENCES"] or sequences),
            stateful_step_count=int(given["STEPS"] or steps),
            deadline=None,
            derandomize=given["SEQUENCES"] is None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([] if given["SHRINK"] is None else [Phase.shrink])],
            print_blob=True,
        ),
    )
