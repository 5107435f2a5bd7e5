"""The results as a table in Markdown, and as plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Ratio

_VERDICT = {True: "met", False: "MISSED", None: ""}


def cells(ratio: Ratio) -> tuple[str, ...]:
    """The cells of one ratio."""
    sign = "≥" if ratio.at_least else "≤"
    target = "" if ratio.target is None else f"{sign} {ratio.target:g}"
    spread = f"{min(ratio.rounds):.2f} to {max(ratio.rounds):.2f}"
    shown = f"{ratio.value:.2f}"
    return (ratio.group, ratio.name, shown, spread, target, _VERDICT[ratio.met], ratio.detail)


_HEADS = ("Group", "What", "Ratio", "Rounds", "Target", "", "Detail")


def markdown(ratios: Sequence[Ratio]) -> str:
    """The table for docs/performance.md."""
    lines = ["| " + " | ".join(_HEADS) + " |", "|" + "---|" * len(_HEADS)]
    lines += ["| " + " | ".join(cells(ratio)) + " |" for ratio in ratios]
    return "\n".join(lines) + "\n"


def plot(ratios: Sequence[Ratio], server: str, path: Path) -> None:
    """Bars of the ratio relative to its target, which is a line; longer is better."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # So that the same measurements give the same file.
    mpl.rcParams["svg.hashsalt"] = "fleetschema"
    judged = [ratio for ratio in ratios if ratio.target]
    scores = [
        r.value / (r.target or 1) if r.at_least else (r.target or 1) / r.value for r in judged
    ]
    figure, axes = plt.subplots(figsize=(10, 0.42 * len(judged) + 1.4))
    colours = ["tab:green" if ratio.met else "tab:red" for ratio in judged]
    names = [f"{ratio.group}: {ratio.name}" for ratio in judged]
    axes.barh(names, scores, color=colours)
    for number, ratio in enumerate(judged):
        sign = "≥" if ratio.at_least else "≤"
        text = f" {ratio.value:.2f} ({sign} {ratio.target:g})"
        axes.text(scores[number], number, text, va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.5, max([2.0, *scores]) * 3)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel("times better than the target (the line)", fontsize=8)
    axes.set_title(server, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_questions(ratios: Sequence[Ratio], server: str, path: Path) -> None:
    """Ingest, size and questions as bars of the peer's cost; shorter is better."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "fleetschema"
    costs = [1 / r.value if r.at_least else r.value for r in ratios]
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(ratios) + 1.6))
    colours = {True: "tab:green", False: "tab:red", None: "tab:gray"}
    axes.barh(
        [ratio.name for ratio in ratios], costs, color=[colours[ratio.met] for ratio in ratios]
    )
    for number, ratio in enumerate(ratios):
        text = f" {costs[number]:.2f}   {ratio.detail}"
        axes.text(costs[number], number, text, va="center", fontsize=8)
    for line, style in ((1, "-"), (1.25, "--"), (2, ":")):
        axes.axvline(line, color="black", linewidth=0.8, linestyle=style)
    axes.set_xlim(0, max([2.0, *costs]) * 1.5)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel(
        "a tenant's cost : the peer's; 1 is the same, 1.25 the target of the mean, 2 of each",
        fontsize=8,
    )
    axes.set_title(f"Telemetry against typed tables: {server}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_context(ratios: Sequence[Ratio], server: str, path: Path) -> None:
    """A tenant's time over the owner's for each shape, plain and signed; shorter is better."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "fleetschema"
    figure, axes = plt.subplots(figsize=(10, 0.3 * len(ratios) + 1.6))
    colours = ["tab:blue" if r.group.startswith("plain") else "tab:orange" for r in ratios]
    names = [f"{ratio.name}, {ratio.group}" for ratio in ratios]
    axes.barh(names, [ratio.value for ratio in ratios], color=colours)
    for number, ratio in enumerate(ratios):
        text = f" {ratio.value:.2f}   {ratio.detail}"
        axes.text(ratio.value, number, text, va="center", fontsize=8)
    for line, style in ((1, "-"), (1.25, "--")):
        axes.axvline(line, color="black", linewidth=0.8, linestyle=style)
    axes.set_xlim(0, max([2.0, *(ratio.value for ratio in ratios)]) * 1.4)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel("a tenant's time : the owner's; 1 is the same, 1.25 the target", fontsize=8)
    axes.set_title(f"Guard and signature: {server}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
