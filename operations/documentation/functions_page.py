"""The page about functions: those that services call, and those that triggers call."""

from __future__ import annotations

import re

from ddl.kinds.function import FunctionState
from ddl.kinds.trigger import TriggerState
from operations.documentation.facts import Facts
from operations.documentation.markdown import code, link, page, prose
from operations.documentation.readable_sql import expression, type_name
from operations.text import enumeration

_INTRODUCTION = (
    "A function runs with the rights of its caller, unless noted otherwise. The names in a "
    "function without a fixed `search_path` were resolved when it was created."
)


def functions_page(facts: Facts) -> str:
    """The page; each function is a heading, for links from the triggers."""
    functions = [state for _, state in sorted(facts.catalog.of(FunctionState).items())]
    called = [state for state in functions if state.returns != "trigger"]
    fired = [state for state in functions if state.returns == "trigger"]
    parts = [
        _INTRODUCTION,
        "## Called by services",
        *(_described(state, _callers(facts, state)) for state in called),
        "## Called by triggers",
        *(_described(state, _tables(facts, state)) for state in fired),
    ]
    return page("Functions", parts)


def _described(state: FunctionState, who: str) -> str:
    arguments = type_name(expression(state.arguments))
    facets = [] if state.returns == "trigger" else [state.volatility]
    facets += ["strict"] * state.strict + ["security definer"] * state.security_definer
    facets += [state.language, *(setting.replace("=", " = ") for setting in state.settings)]
    signature = code(f"{state.name}({arguments}) → {type_name(state.returns)}")
    lines = [f"{signature} · {', '.join(facets)}", prose(state.comment), who]
    return f"### {state.name}\n\n" + "  \n".join(line for line in lines if line)


def _callers(facts: Facts, state: FunctionState) -> str:
    held = facts.grants((state.schema, state.granted_as))
    if not held:
        return "May be called by its owner only."
    return f"May be called by {enumeration([code(role) for role in sorted(held)])}."


def _tables(facts: Facts, state: FunctionState) -> str:
    """The tables with a trigger that calls it; if there are many, only how many."""
    on = sorted(
        {
            (trigger.schema, trigger.table)
            for trigger in facts.catalog.of(TriggerState).values()
            if re.sub(r"\(.*|.*\.", "", trigger.function) == state.name
        }
    )
    if len(on) > 12:
        return f"On {len(on)} tables."
    return (
        f"On {enumeration([link(k[1], f'{facts.domains[k]}.md', k[1]) for k in on])}." if on else ""
    )
