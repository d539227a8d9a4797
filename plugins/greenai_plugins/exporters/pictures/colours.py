"""Colours of series and of paper, for light and for dark."""

from __future__ import annotations

SERIES = 8
"""Colours there are; more series begin again, with other marks."""

LIGHT = {
    "paper": "#ffffff", "ink": "#1a2027", "pale": "#5b6672", "rule": "#dfe4e9", "axis": "#9aa4ae",
    "s0": "#1f5fae", "s1": "#b9540f", "s2": "#1f7a4d", "s3": "#7546b0", "s4": "#ac2f68",
    "s5": "#0b7480", "s6": "#76650a", "s7": "#56616c",
}  # fmt: skip

DARK = {
    "paper": "#14181d", "ink": "#e8ecf0", "pale": "#a3aeb9", "rule": "#2c343d", "axis": "#6b7681",
    "s0": "#74b1ff", "s1": "#f5a266", "s2": "#6fcf97", "s3": "#c0a2f5", "s4": "#f48fb8",
    "s5": "#5fcbd8", "s6": "#d9c45a", "s7": "#aeb9c4",
}  # fmt: skip


def variables(colours: dict[str, str]) -> str:
    """As declarations of CSS variables."""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def style(colours: dict[str, str] | None = None) -> str:
    """The style sheet of drawings.

    Args:
        colours: to be written out, for files of their own; None for CSS variables,
            which the page around them sets.
    """

    def of(name: str) -> str:
        return f"var(--{name})" if colours is None else colours[name]

    rules = [
        f".gr-paper{{fill:{of('paper')}}}",
        f".gr-ink{{fill:{of('ink')}}}",
        f".gr-halo{{fill:{of('ink')};stroke:{of('paper')};stroke-width:4;paint-order:stroke}}",
        f".gr-pale{{fill:{of('pale')}}}",
        f".gr-rule{{fill:none;stroke:{of('rule')};stroke-width:1}}",
        f".gr-axis{{fill:none;stroke:{of('axis')};stroke-width:1}}",
        f".gr-break{{fill:none;stroke:{of('pale')};stroke-width:1.2;stroke-dasharray:5 4}}",
        f".gr-band{{fill:{of('pale')};fill-opacity:.12;stroke:none}}",
    ]
    for index in range(SERIES):
        colour = of(f"s{index}")
        rules += [
            f".s{index} .m{{fill:{colour};stroke:{colour};stroke-width:1.6}}",
            f".s{index} .h{{fill:{of('paper')}}}",
            f".s{index} .l,.s{index} .i,.s{index} .f,.s{index} .d,.s{index} .q,.s{index} .w"
            f"{{fill:none;stroke:{colour};stroke-linecap:round;stroke-linejoin:round}}",
            f".s{index} .a{{fill:{colour};fill-opacity:.18;stroke:none}}",
            f".s{index} .b{{fill:{colour};stroke:{of('paper')};stroke-width:1}}",
            f".s{index} .o{{fill:{colour};fill-opacity:.25;stroke:{colour};stroke-width:1}}",
            f".s{index} .c{{fill:{colour};stroke:none}}",
        ]
    rules += [
        ".l{stroke-width:1.5}.i{stroke-width:1.6}.d{stroke-width:3;stroke-opacity:.35}",
        ".q{stroke-width:7;stroke-opacity:0}",
        ".f{stroke-width:2.2;stroke-dasharray:7 4;stroke-opacity:.9}",
        ".n .l{stroke-dasharray:2 4}",
        ".w{stroke-width:9;stroke-opacity:.28}",
    ]
    return "".join(rules)
