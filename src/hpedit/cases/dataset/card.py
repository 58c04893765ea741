"""Render a dataset card: README.md as the hub reads it (YAML header, Markdown body), and the same figures as JSON.

The template is card.md.jinja. Texts from users (origins, licences, names) are escaped: no name can break a table or
inject HTML.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hpedit import __version__
from hpedit.cases.dataset.facts import Content, Facts, public_recipe
from hpedit.cases.dataset.plots import by_task
from hpedit.cases.hardness import DROPPED, KEPT, MEANING
from hpedit.cases.recipe import CasesRecipe
from hpedit.tasks import TASK_BY_ID

HUB_LICENCES = frozenset((
    "apache-2.0", "mit", "gpl-2.0", "gpl-3.0", "agpl-3.0", "unlicense", "gfdl", "etalab-2.0", "odc-by", "odbl", "pddl",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "other", "unknown",
))  # fmt: skip
"""Licence identifiers that the hub knows; any other becomes "other" with a name."""
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
"""The hub's names of sizes, each for fewer cases than its number."""
HERE = Path(__file__).parent


def render_card(
    facts: Facts, content: Content, recipe: CasesRecipe, sheets: Sequence[str], plots: Sequence[str]
) -> str:
    """Render the dataset card as Markdown; `sheets` are files of the contact sheet, `plots` the names of the charts."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"cell": escape_cell, "code": code_span}
    body = environment.get_template("card.md.jinja").render(
        **_context(facts, content, recipe), sheets=sheets, plots=plots
    )
    head = yaml.safe_dump(card_header(facts.total, content, recipe), sort_keys=False, allow_unicode=True)
    # Blocks of the template that are empty leave their blank lines behind.
    return f"---\n{head}---\n\n" + re.sub(r"\n{3,}", "\n\n", body)


def card_header(total: int, content: Content, recipe: CasesRecipe) -> dict[str, Any]:
    """The YAML header of a dataset card: licence, languages, size, where the shards are."""
    licence = recipe.dataset.licence or "unknown"
    known = licence.lower() in HUB_LICENCES
    size = next((name for bound, name in SIZES if total < bound), "10M<n<100M")
    languages = sorted(language for language in content.languages if language)
    return {
        "pretty_name": recipe.dataset.name,
        "license": licence.lower() if known else "other",
        # The hub accepts only lower-case letters, digits, dots and hyphens.
        **({} if known else {"license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-") or "own"}),
        "task_categories": ["image-to-image"],
        **({"language": languages} if languages else {}),
        "size_categories": [size],
        "tags": ["image-editing", "hp-edit"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }


def counts_json(facts: Facts, content: Content, recipe: CasesRecipe) -> dict[str, Any]:
    """The figures of a dataset card as plain data, for counts.json."""
    return {
        "version": __version__,
        "cases": facts.total,
        "bytes": content.bytes,
        "stages": {name: dict(counts) for name, counts in facts.stages.items()},
        "distributions": {
            label: {task: {c: n for (t, c), n in sorted(counts.items()) if t == task} for task in TASK_BY_ID}
            for label, counts in facts.distributions.items()
        },
        "fates": {task: dict(counts) for task, counts in facts.decisions.items()},
        "left_out": dict(facts.left_out),
        "licences": dict(sorted(content.licences.items())),
        "sources": [{**row, "number": number} for number, row in enumerate(_sources(content, recipe))],
        "fingerprints": dict(facts.fingerprints),
        "recipe": public_recipe(recipe),
    }


def escape_cell(words: str) -> str:
    """Escape text for a cell of a Markdown table, or a line: nothing in it acts as markup."""
    line = html.escape(" ".join(str(words).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", line)


def code_span(words: str) -> str:
    """Format text as Markdown code."""
    return f"`{' '.join(str(words).replace('`', '').split())}`".replace("|", "\\|")


def _context(facts: Facts, content: Content, recipe: CasesRecipe) -> dict[str, Any]:
    last = list(facts.distributions.values())[-1]
    licences = sorted(((n, name) for name, n in content.licences.items()), key=lambda pair: (-pair[0], pair[1]))
    return {
        "title": escape_cell(recipe.dataset.name),
        "version": __version__,
        "facts": facts,
        "content": content,
        "tasks": [task for task in TASK_BY_ID if any(key[0] == task for key in last)],
        "labels": [escape_cell(label) for label in facts.distributions],
        "by_task": by_task(facts.distributions),
        "rule": _rule(recipe),
        "meaning": MEANING,
        **_decision_table(facts),
        "sources": _sources(content, recipe),
        "licences": [(name or "not stated", n) for n, name in licences],
        "recipe": recipe,
        "recipe_yaml": yaml.safe_dump(public_recipe(recipe), sort_keys=False, allow_unicode=True),
    }


def _decision_table(facts: Facts) -> dict[str, Any]:
    """Filter reasons that occur, and for each task its counts by reason and the share kept."""
    reasons = [reason for reason in (*KEPT, *DROPPED) if any(reason in counts for counts in facts.decisions.values())]
    table = [
        (
            TASK_BY_ID[task].name,
            [counts.get(reason, 0) for reason in reasons],
            sum(counts.get(reason, 0) for reason in KEPT) / sum(counts.values()),
        )
        for task in TASK_BY_ID
        if (counts := facts.decisions.get(task))
    ]
    return {"reasons": reasons, "decisions": table}


def _rule(recipe: CasesRecipe) -> str:
    section = recipe.filter
    if section.by == "drop-solved":
        return "A case whose mean score rounds to 5 is dropped, as in HP-Edit (arXiv 2604.19406)."
    return (
        f"A case is kept if its scores have a standard deviation of at least {section.min_std:g}, or a mean between "
        f"{section.low:g} and {section.high:g}."
    )


def _sources(content: Content, recipe: CasesRecipe) -> list[dict[str, Any]]:
    """One row for each source of the recipe."""
    public = public_recipe(recipe)["sources"]
    return [
        {
            "name": f"{section.kind} {public[number][section.kind]}",
            "origin": section.origin or "as each photograph says",
            "licence": section.licence or "none",
            "photos": len(content.photos.get(number, ())),
            "cases": content.cases[number],
        }
        for number, section in enumerate(recipe.sources)
    ]
