"""Write the figures in README and docs from benchmarks/baselines, where the benchmarks keep them.

    python benchmarks/figures.py             # what `make figures` does
    python benchmarks/figures.py --check     # write nothing; exit 1 where a page is older than its figures

A page marks a place by a pair of comments, and what stands between them is written by the function of that name here:

    <!-- figures: demo -->
    <!-- end -->
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpedit.stats.intervals import Interval
from hpedit.tasks import TASK_IDS

ROOT = Path(__file__).parents[1]
BASELINES = Path(__file__).parent / "baselines"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
CONTROLS = {
    "random_reward": "the same training, random reward",
    "supervised": "the base's own supervision, as much computation",
    "best_of_n": "base, best of 4 by the scorer",
    "clean_supervised": "exact targets, as much computation",
}


def baseline(name: str) -> Any:
    """A benchmark's figures."""
    return json.loads((BASELINES / f"{name}.json").read_text(encoding="utf-8"))


def signed(gain: Mapping[str, Any]) -> str:
    """+0.12 [+0.03, +0.20]."""
    low, high = gain["ci95"] or (None, None)
    bounds = "" if low is None else f" [{low:+.2f}, {high:+.2f}]"
    return f"{gain['mean']:+.2f}{bounds}"


def plain(estimate: Mapping[str, Any], key: str = "mean") -> str:
    """2.50 [2.30, 2.70]."""
    low, high = estimate["ci95"]
    return f"{Interval(estimate[key]).value:.2f} [{low:.2f}, {high:.2f}]"


def made_by(found: Mapping[str, Any]) -> str:
    """Commit and seeds."""
    return f"commit {found['commit']}, seed{'s' * (len(found['seeds']) > 1)} {', '.join(map(str, found['seeds']))}"


def demo(name: str = "demo") -> str:
    """Gain of the demo beside its controls."""
    found = baseline(name)
    oracle, scorer = found["oracle"], found["scorer"]
    rows = [
        ("gain by the oracle, which gives no reward", signed(oracle["gain"])),
        ("gain by HP-Scorer, which is the reward", signed(scorer["gain"])),
        *(
            (f"control: {words}, oracle", f"{found['controls'][name]:+.2f}".replace("-0.00", "0.00"))
            for name, words in CONTROLS.items()
        ),
        ("share of edits <= 2", "{base:.0%} -> {post:.0%}".format(**oracle["low_share"])),
        ("share of edits >= 4.5", "{base:.1%} -> {post:.1%}".format(**oracle["high_share"])),
    ]
    head = f"| the demo, {found['cases']} held-out cases; {made_by(found)} | |\n|---|---|\n"
    return head + "\n".join(f"| {name} | {value} |" for name, value in rows)


def demo_photographs() -> str:
    """The same on photographs that neither base nor judge was built on."""
    return demo("demo_photographs")


def demo_tasks() -> str:
    """Gain of each task."""
    found = baseline("demo")["tasks"]
    lines = [f"| {' | '.join(TASK_IDS)} |", "|---" * len(TASK_IDS) + "|"]
    cells = " | ".join(f"{found[task]['mean']:+.2f}" for task in TASK_IDS)
    return "\n".join([*lines, f"| {cells} |"])


def demo_steps() -> str:
    """Base and post-trained editor by sampling steps."""
    found = dict(sorted(baseline("demo")["steps"].items(), key=lambda row: int(row[0])))
    lines = [f"| steps | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for arm, name in (("base", "base"), ("post", "post-trained")):
        cells = " | ".join(f"{found[count][arm]:.2f}" for count in found)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def mini_base() -> str:
    """The base by sampling steps and by task."""
    found = baseline("mini_base")
    named = {f"{count} steps": figures for count, figures in found["steps"].items()}
    named |= {"best of 12": found["best_of_12"], "VAE's ceiling": found["ceiling"], "copy": found["copy"]}
    lines = [f"| | all | {' | '.join(TASK_IDS)} |", "|---" * (len(TASK_IDS) + 2) + "|"]
    for name, figures in named.items():
        tasks = " | ".join(f"{figures['tasks'][task]['mean']:.2f}" for task in TASK_IDS)
        lines.append(f"| {name} | {plain(figures)} | {tasks} |")
    return "\n".join(lines)


def mini_judge() -> str:
    """The judge within cases, on tiles and on photographs that it never saw."""
    found = baseline("mini_judge")
    lines = [f"| | all | {' | '.join(TASK_IDS)} |", "|---" * (len(TASK_IDS) + 2) + "|"]
    for where, report in found.items():
        for name, words in (("spearman", "Spearman"), ("pick_share", "pick share")):
            cells = " | ".join(f"{report[task][name]['value']:.2f}" for task in TASK_IDS)
            lines.append(f"| {words}, {where} | {plain(report['all'][name], 'value')} | {cells} |")
    return "\n".join(lines)


BLOCKS: Mapping[str, Callable[[], str]] = {
    one.__name__: one for one in (demo, demo_photographs, demo_tasks, demo_steps, mini_base, mini_judge)
}


def rewritten(text: str) -> str:
    """A page with all of its blocks as the baselines have them."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", text)


def main() -> int:
    """Write the pages, or tell which are old."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    old = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            old.append(str(page.relative_to(ROOT)))
            if not asked.check:
                page.write_text(after, encoding="utf-8")
    if old:
        sys.stdout.write(f"{'older than their figures' if asked.check else 'written'}: {', '.join(old)}\n")
    return int(bool(old) and asked.check)


if __name__ == "__main__":
    sys.exit(main())
