"""The main table as text, Markdown and LaTeX, with everything that a reader must know beside it."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.ablation import Row
from retrieval.figures import FIGURES


def text_table(rows: Sequence[Row]) -> str:
    """For a terminal; between what the figures of the last row lie is said below."""
    lines = [f"{'MSM':>4}{'ITM':>5}" + "".join(f"{name:>8}" for name in FIGURES) + f"{'ms':>9}{'calls':>7}"]
    for row in rows:
        marks = f"{'yes' if row.way.msm else '-':>4}{'yes' if row.way.itm else '-':>5}"
        figures = "".join(f"{row.figures[name]:>8.2f}" for name in FIGURES)
        lines.append(f"{marks}{figures}{row.milliseconds:>9.2f}{_calls(row):>7}")
    lines.append(f"95 % intervals over people, both: {as_text(rows[-1].bounds)}")
    lines.append("ms: of a query, from its words to its scores; calls: of a language model, a query (?: not known)")
    return "\n".join(lines)


def markdown_table(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """With the 95 % intervals beside the figures, and a line for each note."""
    lines = [
        f"| MSM | ITM | {' | '.join(FIGURES)} | ms a query | LLM calls a query |",
        "|" + "---|" * (len(FIGURES) + 4),
    ]
    for row in rows:
        cells = ["yes" if row.way.msm else "no", "yes" if row.way.itm else "no"]
        cells += [f"{row.figures[name]:.2f} [{low:.1f}, {high:.1f}]" for name, (low, high) in row.bounds.items()]
        lines.append(f"| {' | '.join([*cells, f'{row.milliseconds:.2f}', _calls(row)])} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def latex_table(rows: Sequence[Row], notes: Sequence[str]) -> str:
    r"""A `table` for booktabs, the best of each column in bold, the notes in its caption."""
    best = {name: max(row.figures[name] for row in rows) for name in FIGURES}
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        r"\begin{table}",
        r"  \centering",
        r"  \begin{tabular}{cc" + "r" * (len(FIGURES) + 2) + "}",
        r"    \toprule",
        "    " + " & ".join(["MSM", "ITM", *FIGURES, "ms", "calls"]) + r" \\",
        r"    \midrule",
    ]
    for row in rows:
        marks = [r"\checkmark" if on else "" for on in (row.way.msm, row.way.itm)]
        figures = [
            rf"\textbf{{{row.figures[name]:.2f}}}" if row.figures[name] == best[name] else f"{row.figures[name]:.2f}"
            for name in FIGURES
        ]
        lines.append("    " + " & ".join([*marks, *figures, f"{row.milliseconds:.2f}", _calls(row)]) + r" \\")
    told = ". ".join(["ms: of a query; calls: of a language model, a query", *notes])
    lines += [r"    \bottomrule", r"  \end{tabular}", rf"  \caption{{{_escaped(told)}.}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def as_text(bounds: dict[str, tuple[float, float]]) -> str:
    """Intervals as `R1 50.1 to 59.9, ...`."""
    return ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in bounds.items())


def _calls(row: Row) -> str:
    return "?" if row.calls is None else str(row.calls)


def _escaped(text: str) -> str:
    special = {char: f"\\{char}" for char in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"\\": r"\textbackslash{}"}
    return "".join(special.get(char, char) for char in text)
