"""The figures as a picture: plain SVG, a panel each, on scales of powers of ten. Pure.

Colours are those of Okabe and Ito, which the colour-blind can tell apart; ours is told by its shape and its weight as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from tables import OURS, Panel, number

COLUMNS, WIDTH, LINE, HEAD, GAP = 2, 500, 17, 74, 18
NAMES, SCALE = 222, 190  # Within a panel: how wide are the names, and the scale. The rest is for the figures.
OURS_COLOUR, PEERS_COLOUR, GRID = "#0072b2", "#d55e00", "#dddddd"
FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def svg(title: str, subtitle: str, panels: tuple[Panel, ...]) -> str:
    """`title` is the first line and what a screen reader says; it tells which side is the better one."""
    parts, top = [], HEAD
    for begin in range(0, len(panels), COLUMNS):
        line = panels[begin : begin + COLUMNS]
        for column, panel in enumerate(line):
            parts += [f'<g transform="translate({20 + column * WIDTH} {top})">', *_panel(panel), "</g>"]
        top += max(_height(panel) for panel in line) + GAP
    width = 20 + COLUMNS * WIDTH
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" role="img" {FONT} fill="#222222">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{top}" fill="#ffffff"/>',
            f'<text x="20" y="30" font-size="18" font-weight="bold">{escape(title)}</text>',
            f'<text x="20" y="50">{escape(subtitle)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _height(panel: Panel) -> int:
    return LINE * (len(panel.values) + 2)


def _panel(panel: Panel) -> Iterator[str]:
    values = [value for _, value in panel.values]
    low, high = decades(values)
    bottom = LINE * (len(panel.values) + 1)
    yield f'<text y="12" font-size="13" font-weight="bold">{escape(panel.title)} ({escape(panel.unit)})</text>'
    for power in range(low, high + 1):
        x = NAMES + SCALE * (power - low) / (high - low)
        tick = "0" if power == low and min(values) == 0 else f"{10.0**power:,g}"
        yield f'<path d="M{x:.0f} {LINE + 2}V{bottom + 2}" stroke="{GRID}"/>'
        yield f'<text x="{x:.0f}" y="{bottom + 14}" font-size="10" text-anchor="middle">{tick}</text>'
    for line, (name, value) in enumerate(panel.values):
        yield from _row(name, value, LINE * (line + 1) + 12, x_of(value, low, high))


def _row(name: str, value: float, y: int, x: float) -> Iterator[str]:
    ours = name.startswith(OURS)
    weight = ' font-weight="bold"' if ours else ""
    yield f'<text x="{NAMES - 10}" y="{y}" text-anchor="end"{weight}>{escape(short(name))}</text>'
    if ours:
        yield f'<path d="M{x:.1f} {y - 10}l6 6l-6 6l-6 -6z" fill="{OURS_COLOUR}"/>'
    else:
        yield f'<circle cx="{x:.1f}" cy="{y - 4}" r="4" fill="#ffffff" stroke="{PEERS_COLOUR}" stroke-width="2"/>'
    yield f'<text x="{NAMES + SCALE + 12}" y="{y}"{weight}>{number(value)}</text>'


def short(name: str) -> str:
    """What fits beside a scale: without an aside in brackets; the 1 of flock(1) is none."""
    return name.split(" (", maxsplit=1)[0].replace(f"{OURS}: ", "looop: ")


def decades(values: list[float]) -> tuple[int, int]:
    """The powers of ten that the scale begins and ends with. Nought has no place on it: it gets a step before all."""
    some = [value for value in values if value > 0] or [1.0]
    low = math.floor(math.log10(min(some))) - (min(values) == 0)
    return low, max(low + 1, math.ceil(math.log10(max(some))))


def x_of(value: float, low: int, high: int) -> float:
    place = (math.log10(value) - low) / (high - low) if value > 0 else 0.0
    return NAMES + SCALE * place
