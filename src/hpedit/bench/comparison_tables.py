"""A comparison as files: compare.json (all of it), compare.md, compare.csv (a row a figure), compare.tex (booktabs)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpedit.bench import figure_text as figures
from hpedit.stats.intervals import GAIN, Interval, number_text
from hpedit.store.atomic import atomic_write, write_json
from hpedit.store.csv_rows import csv_text

Result = Mapping[str, Any]

TABLE = "compare.json"
"""Written first: a folder that has it is that of a comparison."""
CSV_COLUMNS = (
    "instrument", "title", "task", "model", "n", "sources", "mean", "mean_low", "mean_high", "gain", "gain_low",
    "gain_high", "p", "p_holm", "win", "tie", "loss", "share_low", "share_high",
)  # fmt: skip
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""Escapes: <, > and | are other letters in TeX's default fonts; [ and * after a row's end would be read as options."""


def write_comparison_tables(out: Path, result: Result) -> None:
    """Write the four files into the folder `out`, each atomically; equal results give equal bytes."""
    write_json(out / TABLE, result)
    atomic_write(out / "compare.md", comparison_markdown(result))
    atomic_write(out / "compare.csv", comparison_csv(result))
    atomic_write(out / "compare.tex", comparison_latex(result))


def comparison_markdown(result: Result) -> str:
    """A comparison as Markdown: verdicts, notes, tables overall and by task, alarms, and a legend."""
    labels = [model["label"] for model in result["models"]]
    reference = result["reference"]
    lines = [f"# {' and '.join(_md(label) for label in labels)}", "", f"{figures.size_line(result)}.", ""]
    said = result["verdicts"].items()
    lines += [f"- **{_md(label)}** against {_md(reference)}: {_md(verdict['text'])}" for label, verdict in said]
    lines += [f"- {_md(note)}." for note in result["notes"]]
    for one in result["instruments"]:
        cases = figures.counted(one["overall"]["n"], "case")
        lines += ["", f"## {_md(one['title'])}", "", _md(f"{figures.sentence(one['note'])}; {cases}.")]
        if left := figures.left_out_line(one):
            lines.append(_md(f"{figures.sentence(left)}."))
        lines += ["", *_md_overall(one["overall"], labels), "", *_md_tasks(one, labels, reference)]
    lines += _md_alarms(result, labels)
    return "\n".join([*lines, "", _reading(result), ""])


def _reading(result: Result) -> str:
    return (
        "Scores are 0 to 5. Brackets: 95 % t intervals over photos. Gain: paired difference to the reference. p: of "
        f"the same t, uncorrected. \\*: {figures.STAR}. Won / tied / lost: cases, equal within "
        f"{result['settings']['tie']:g}."
    )


def _md(text: object) -> str:
    """Text escaped for a Markdown table cell."""
    escaped = str(text).replace("\\", "\\\\").replace("\n", " ").replace("\r", " ")
    for character in "|*_`<>[]":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped


def _md_overall(block: Result, labels: Sequence[str]) -> list[str]:
    lines = [
        "| model | mean | 95 % | gain | 95 % | p | won / tied / lost | \\<= 2 | \\>= 4.5 |",
        "|---|--:|---|--:|---|--:|--:|--:|--:|",
    ]
    for label in labels:
        model = block["models"].get(label) or {}
        cells = [
            _md(label), figures.mean_text(model), figures.bounds_text(model), figures.gain_text(model),
            figures.bounds_text(model.get("gain"), style=GAIN), figures.p_value_text(model.get("p")),
            figures.win_tie_loss_text(model, " / "),
            figures.share_text(model.get("low_share")), figures.share_text(model.get("high_share")),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cell.replace('<.', chr(92) + '<.') for cell in cells)} |")
    if "copy" in block:
        source = [figures.mean_text(block["copy"]), figures.bounds_text(block["copy"])]
        lines.append(f"| *untouched source* | {' | '.join(source)} | | | | | | |")
    return lines


def _md_tasks(one: Result, labels: Sequence[str], reference: str) -> list[str]:
    heads = [_md(label) for label in labels]
    lines = [f"| task | n | {' | '.join(heads)} |", f"|---|--:|{'--:|' * len(labels)}"]
    for task, block in one["tasks"].items():
        cells = [_task_cell(block["models"].get(label), label == reference) for label in labels]
        lines.append(f"| {_md(figures.task_title(task))} | {block['n']} | {' | '.join(cells)} |")
    return lines


def _task_cell(model: Result | None, is_reference: bool) -> str:
    gain = None if is_reference else Interval.read(model, "gain")
    star = "\\*" if figures.clear_star(model) else ""
    return figures.mean_text(model) + (f" ({gain.text(GAIN)}{star})" if gain else "")


def _md_alarms(result: Result, labels: Sequence[str]) -> list[str]:
    if not result["alarms"]:
        return []
    lines = ["", "## Measures of the pixels", "", f"| measure | sources | {' | '.join(map(_md, labels))} |"]
    lines.append(f"|---|--:|{'--:|' * len(labels)}")
    for name, measure in result["alarms"].items():
        cells = [f"{measure['source']['mean']:.3f}"]
        for label in labels:
            model = measure["models"][label]
            flag = f" **alarm**: {model['meaning']}" if model.get("alarm") else ""
            cells.append(f"{model['mean']:.3f}{flag}")
        lines.append(f"| {_md(name.replace('_', ' '))} | {' | '.join(cells)} |")
    shares = " | ".join(figures.share_text(result["untouched"][label]) for label in labels)
    return [*lines, f"| edits that change nothing | | {shares} |"]


def comparison_csv(result: Result) -> str:
    """A comparison as CSV: a row per instrument, task ("all" for the whole) and model; empty cells are unknown."""
    rows: list[list[str]] = []
    for one in result["instruments"]:
        for task, block in {"all": one["overall"], **one["tasks"]}.items():
            for label, model in block["models"].items():
                cells = (one["key"], one["title"], task, label, *_csv_figures(block, model))
                rows.append(["" if cell is None else str(cell) for cell in cells])
    return csv_text(CSV_COLUMNS, rows)


def _csv_figures(block: Result, model: Result) -> Iterator[Any]:
    change, counts = model.get("gain") or {}, model.get("win_tie_loss") or {}
    yield from (block["n"], block["sources"])
    for estimate in (model, change):
        yield estimate.get("mean")
        yield from estimate.get("ci95") or (None, None)
    yield from (model.get("p"), model.get("p_holm"))
    yield from (counts.get(key) for key in ("win", "tie", "loss"))
    yield from (model["low_share"], model["high_share"])


def comparison_latex(result: Result) -> str:
    """A comparison as LaTeX tables, one per instrument: models as rows, tasks as columns (booktabs, graphicx)."""
    tables = [_latex_table(one, result) for one in result["instruments"]]
    return "% needs \\usepackage{booktabs,graphicx}\n" + "\n".join(tables)


def _latex_table(one: Result, result: Result) -> str:
    labels = [model["label"] for model in result["models"]]
    tasks = list(one["tasks"])
    heads = [_tex(figures.task_title(task)) for task in tasks]
    rows = [_latex_row(one, label, label == result["reference"], tasks) for label in labels]
    block = one["overall"]
    caption = (
        f"{_tex(one['title'])} (0 to 5), {figures.counted(block['n'], 'case')} of "
        f"{figures.counted(block['sources'], 'photo')}. In "
        f"brackets: paired gain over {_tex(result['reference'])}; all: 95\\,\\% interval over photos; $^*$: "
        f"{_tex(figures.STAR)}."
    )
    caption += " This scorer has no signal on people's ratings." if one.get("doubt") else ""
    heads += ["All", r"$\le 2$", r"$\ge 4.5$"]
    return "\n".join(
        [
            r"\begin{table}", r"  \centering", r"  \resizebox{\linewidth}{!}{%",
            rf"  \begin{{tabular}}{{l{'c' * len(tasks)}ccc}}", r"    \toprule",
            rf"    & {' & '.join(heads)} \\", r"    \midrule",
            *[f"    {row}" for row in rows],
            r"    \bottomrule", r"  \end{tabular}}", rf"  \caption{{{caption}}}", r"\end{table}", "",
        ]
    )  # fmt: skip


def _latex_row(one: Result, label: str, is_reference: bool, tasks: Sequence[str]) -> str:
    cells = [_tex(label)]
    for task in tasks:
        model = one["tasks"][task]["models"].get(label)
        gain = None if is_reference else Interval.read(model, "gain")
        change = f" (${number_text(gain.value, GAIN)}$)" if gain else ""
        cells.append(figures.mean_text(model) + change + ("$^*$" if figures.clear_star(model) else ""))
    model = one["overall"]["models"].get(label) or {}
    gain = None if is_reference else Interval.read(model, "gain")
    whole = figures.mean_text(model) + (f" (${gain.text(GAIN)}$)" if gain else "")
    shares = [figures.share_text(model.get(key)).replace("%", r"\,\%") for key in ("low_share", "high_share")]
    return " & ".join([*cells, whole, *shares]) + r" \\"


def _tex(text: object) -> str:
    """Text escaped for LaTeX."""
    return "".join(_LATEX.get(character, character) for character in " ".join(str(text).split()))
