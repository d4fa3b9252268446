"""The drawings of docs/performance.md and of the README, from the result files.

python -m benchmarks.plots
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.tables import read_results

IMAGES = Path(__file__).parent.parent / "docs" / "images"
OURS, FLOOR = "OpsPortal", "bare epoll writer"
COLOURS = {OURS: "#1a5fb4", FLOOR: "#5e5c64"}
OTHERS = ["#c64600", "#26a269", "#9141ac", "#a51d2d", "#e5a50a", "#0d7377", "#e66fae"]


def style() -> None:
    mpl.use("svg")
    mpl.rcParams.update(
        {
            "figure.figsize": (8.0, 4.0),
            "figure.facecolor": "white",
            "font.size": 10,
            "axes.grid": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#dddddd",
            "svg.fonttype": "none",  # texts stay texts
            "svg.hashsalt": "opsportal",  # the same drawing of the same figures
        }
    )


def caption(content: Any) -> str:
    of = content["conditions"]
    return f"{of['machine']}; commit {of['commit']}; {of['command']}"


def save(name: str, content: Any, figure: Any) -> None:
    figure.text(0.01, 0.015, caption(content), fontsize=6.5, color="#666666")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def by_subject(rows: list[dict[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row.get(key) is not None and not row["limited by the load generator"]:
            found[row["subject"]].append((row["events a second"], row[key]))
    return {name: sorted(points) for name, points in found.items()}


def draw_peers(key: str, name: str, title: str, label: str) -> None:
    content = read_results("streams")
    figure, axes = pyplot.subplots()
    others = iter(OTHERS)
    for subject, points in by_subject(content["results"], key).items():
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=4,
            linewidth=2.4 if subject == OURS else 1.3,
            linestyle="--" if subject == FLOOR else "-",
            color=COLOURS.get(subject) or next(others),
            label=subject,
        )
    axes.set(xscale="log", yscale="log", xlabel="events a second to each of 1,000 streams")
    axes.set_ylabel(label)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xticks([10, 50, 167, 500, 1000], ["10", "50", "167", "500", "1,000"])
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(name, content, figure)


def percent(row: dict[str, Any], key: str) -> float:
    """Of one core."""
    seconds = row["stream-seconds"] / row["streams"]
    return float(100 * row[key] / seconds)


def draw_growth() -> None:
    content = read_results("scale")
    figure, axes = pyplot.subplots()
    rows = content["results"]["runs"]
    for number, rate in enumerate(sorted({row["events a second"] for row in rows})):
        points = sorted(
            (row["streams"], percent(row, "CPU-seconds"), percent(row, "fitted CPU-seconds"))
            for row in rows
            if row["events a second"] == rate
        )
        streams, spent, fitted = zip(*points, strict=True)
        colour = [*COLOURS.values(), *OTHERS][number]
        axes.plot(streams, spent, "o", color=colour, markersize=5, label=f"{rate} events/s")
        axes.plot(streams, fitted, "-", color=colour, linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="open streams of one process")
    axes.set_ylabel("% of one core")
    axes.set_title(
        "CPU against streams: measured (points), fitted (lines)", loc="left", fontsize=11
    )
    axes.set_xticks([100, 300, 1000, 3000, 10000], ["100", "300", "1,000", "3,000", "10,000"])
    axes.minorticks_off()
    axes.legend(fontsize=8, frameon=False)
    save("growth", content, figure)


def draw_window() -> None:
    content = read_results("window")
    rows = content["results"]
    windows = [row["window ms"] for row in rows]
    figure, axes = pyplot.subplots()
    axes.plot(
        windows,
        [row["CPU-seconds a million deliveries"] for row in rows],
        "o-",
        color=COLOURS[OURS],
        label="CPU-seconds a million deliveries",
    )
    axes.set(xlabel="flush window, ms", ylabel="CPU-seconds a million deliveries")
    axes.set_ylim(bottom=0)
    latency = axes.twinx()
    latency.plot(windows, [row["p50 ms"] for row in rows], "s--", color="#c64600", label="p50 ms")
    latency.plot(windows, [row["p99 ms"] for row in rows], "^--", color="#26a269", label="p99 ms")
    latency.set_ylabel("latency, ms")
    latency.set_ylim(bottom=0)
    latency.grid(visible=False)
    handles = axes.get_legend_handles_labels()[0] + latency.get_legend_handles_labels()[0]
    axes.legend(handles=handles, fontsize=8, frameon=False, loc="lower left")
    title = "The flush window, 1,000 streams at 167 events a second"
    axes.set_title(title, loc="left", fontsize=11)
    save("window", content, figure)


def main() -> None:
    style()
    IMAGES.mkdir(exist_ok=True)
    million = "CPU-seconds a million deliveries"
    draw_peers(million, "cost", "What a million deliveries cost the serving process", million)
    draw_peers("p99 ms", "latency", "From before the save to the reader's parse", "p99, ms")
    draw_growth()
    draw_window()


if __name__ == "__main__":
    main()
