#!/usr/bin/env python3
"""Draws the plots of docs/benchmarks.md from a run of `fanout curves --json RUN`: latency against load, memory against sockets.

    benches/plot.py benches/runs/RUN.json docs/images
"""

import json
import math
import sys
from pathlib import Path

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 50, 60
COLOURS = ["#0b6bcb", "#c2410c", "#15803d", "#7e22ce"]


def ticks(low, high):
    """About five round numbers from `low` to `high`."""
    step = 10 ** math.floor(math.log10((high - low) / 5 or 1))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    count = math.floor(high / step)
    return [step * each for each in range(math.ceil(low / step), count + 1)]


def decades(low, high):
    """1, 2, 5, 10, … from `low` to `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = (factor * 10**power for power in powers for factor in (1, 2, 5))
    return [mark for mark in marks if low <= mark <= high]


class Axis:
    """Figures to pixels; `first` and `last` are the pixels of its ends."""

    def __init__(self, values, first, last, logarithmic=False):
        self.logarithmic = logarithmic
        high = max(values) * 1.05 or 1
        self.low, self.high = (min(values) / 1.3, high * 1.3) if logarithmic else (0, high)
        self.first, self.last = first, last
        self.ticks = decades(self.low, self.high) if logarithmic else ticks(self.low, self.high)

    def __call__(self, value):
        scale = math.log10 if self.logarithmic else float
        part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.first + part * (self.last - self.first)


def text(x, y, words, **attributes):
    given = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{given}>{words}</text>'


def figure(number):
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:g}"


def frame(title, x_title, y_title, x, y):
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333" role="img">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 26, title, font_size=15),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, x_title, text_anchor="middle"),
        text(0, 0, y_title, text_anchor="middle", transform=f"translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)"),
    ]
    for mark in x.ticks:
        lines.append(f'<path d="M{x(mark):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e5e5"/>')
        lines.append(text(x(mark), HEIGHT - BOTTOM + 18, figure(mark), text_anchor="middle"))
    for mark in y.ticks:
        lines.append(f'<path d="M{LEFT} {y(mark):.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
        lines.append(text(LEFT - 8, y(mark) + 4, figure(mark), text_anchor="end"))
    return lines


def plot(title, x_title, y_title, series, logarithmic=False):
    """`series`: name → list of (x, y)."""
    points = [point for each in series.values() for point in each]
    x = Axis([point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = Axis([point[1] for point in points], HEIGHT - BOTTOM, TOP, logarithmic)
    lines = frame(title, x_title, y_title, x, y)
    for number, (name, each) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in each)
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in each]
        height = TOP + 14 + 20 * number
        lines.append(f'<path d="M{WIDTH - RIGHT + 12} {height}h18" stroke="{colour}" stroke-width="2"/>')
        lines.append(text(WIDTH - RIGHT + 36, height + 4, name))
    return "\n".join([*lines, "</svg>", ""])


def section(run, name):
    return next((each["runs"] for each in run["sections"] if each["scenario"] == name), [])


def latency(run):
    series = {}
    for each in section(run, "latency"):
        offered = each["expected"] / each["seconds"]
        for quantile, key in (("p50", "p50_us"), ("p99", "p99_us")):
            line = series.setdefault(f"{each['candidate']} {quantile}", [])
            line.append((offered, each["latency"][key] / 1000))
    sockets = section(run, "latency")[0]["sockets"]
    title = f"From publish to receipt, {sockets:,} sockets on one channel"
    return plot(title, "deliveries per second", "milliseconds", series, logarithmic=True)


def memory(run):
    runs = [each for each in section(run, "memory") if each["rss_subscribed_bytes"]]
    line = [(each["sockets"], each["rss_subscribed_bytes"] / 2**20) for each in runs]
    return plot("Resident memory, idle subscribed sockets", "sockets", "MB", {runs[0]["candidate"]: line})


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    run = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    drawn = [plot for plot in (latency, memory) if section(run, plot.__name__)]
    for draw in drawn:
        file = folder / f"{draw.__name__}.svg"
        file.write_text(draw(run))
        print(file)
    if not drawn:
        sys.exit(f"{sys.argv[1]} is no run of `curves`")


if __name__ == "__main__":
    main()
