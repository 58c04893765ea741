"""The card of a dataset: README.md as the hub reads it, YAML on top and Markdown below, and its JSON twin.

The template is card.md.jinja. Texts that come from users (origins, licences, names) are escaped, so that a name cannot
break a table or bring HTML in.
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
"""Identifiers that the hub knows; it takes any other as "other" with a name."""
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
"""The hub's names of sizes, each for fewer cases than its number."""
HERE = Path(__file__).parent


def render_card(facts: Facts, content: Content, recipe: CasesRecipe, sheets: Sequence[str]) -> str:
    """The card as text; `sheets` are file names of the picture sheet, in order."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "code": code}
    body = environment.get_template("card.md.jinja").render(**_context(facts, content, recipe, sheets))
    head = yaml.safe_dump(header(facts.total, content, recipe), sort_keys=False, allow_unicode=True)
    # Blocks of the template that are empty leave their blank lines behind.
    return f"---\n{head}---\n\n" + re.sub(r"\n{3,}", "\n\n", body)


def header(total: int, content: Content, recipe: CasesRecipe) -> dict[str, Any]:
    """What the hub reads: licence, languages, size, where the shards are."""
    licence = recipe.dataset.licence or "unknown"
    known = licence.lower() in HUB_LICENCES
    size = next((name for bound, name in SIZES if total < bound), "10M<n<100M")
    languages = sorted(language for language in content.languages if language)
    return {
        "pretty_name": recipe.dataset.name,
        "license": licence.lower() if known else "other",
        # The hub takes names of small letters, digits, dots and hyphens alone.
        **({} if known else {"license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-") or "own"}),
        "task_categories": ["image-to-image"],
        **({"language": languages} if languages else {}),
        "size_categories": [size],
        "tags": ["image-editing", "hp-edit"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }


def counts_json(facts: Facts, content: Content, recipe: CasesRecipe) -> dict[str, Any]:
    """The figures of the card as plain data."""
    return {
        "version": __version__,
        "cases": facts.total,
        "bytes": content.bytes,
        "stages": {name: dict(counts) for name, counts in facts.stages.items()},
        "distributions": {
            label: {task: {c: n for (t, c), n in sorted(counts.items()) if t == task} for task in TASK_BY_ID}
            for label, counts in facts.distributions.items()
        },
        "fates": {task: dict(counts) for task, counts in facts.fates.items()},
        "left_out": dict(facts.left_out),
        "licences": dict(sorted(content.licences.items())),
        "sources": [{**row, "number": number} for number, row in enumerate(_sources(content, recipe))],
        "fingerprints": dict(facts.fingerprints),
        "recipe": public_recipe(recipe),
    }


def cell(words: str) -> str:
    """Words for a cell of a Markdown table, or a line: nothing in them is markup."""
    line = html.escape(" ".join(str(words).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", line)


def code(words: str) -> str:
    """Words in the type of code."""
    return f"`{' '.join(str(words).replace('`', '').split())}`".replace("|", "\\|")


def _context(facts: Facts, content: Content, recipe: CasesRecipe, sheets: Sequence[str]) -> dict[str, Any]:
    last = list(facts.distributions.values())[-1]
    licences = sorted(((n, name) for name, n in content.licences.items()), key=lambda pair: (-pair[0], pair[1]))
    return {
        "title": cell(recipe.dataset.name),
        "version": __version__,
        "facts": facts,
        "content": content,
        "tasks": [task for task in TASK_BY_ID if any(key[0] == task for key in last)],
        "labels": [cell(label) for label in facts.distributions],
        "by_task": by_task(facts.distributions),
        "totals": [sum(counts.values()) for counts in facts.distributions.values()],
        "has_categories": has_categories(facts),
        "sheets": sheets,
        "k": recipe.edits.per_case,
        "rule": _rule(recipe),
        "meaning": MEANING,
        **_fates(facts),
        "sources": _sources(content, recipe),
        "licences": [(name or "not stated", n) for n, name in licences],
        "recipe": recipe,
        "recipe_yaml": yaml.safe_dump(public_recipe(recipe), sort_keys=False, allow_unicode=True),
    }


def has_categories(facts: Facts) -> bool:
    """Whether any case has a category."""
    return any(category for counts in facts.distributions.values() for _, category in counts)


def _fates(facts: Facts) -> dict[str, Any]:
    """The reasons that occur, and for each task its counts by them and the share that is kept."""
    reasons = [reason for reason in (*KEPT, *DROPPED) if any(reason in counts for counts in facts.fates.values())]
    table = [
        (
            TASK_BY_ID[task].name,
            [counts.get(reason, 0) for reason in reasons],
            sum(counts.get(reason, 0) for reason in KEPT) / sum(counts.values()),
        )
        for task in TASK_BY_ID
        if (counts := facts.fates.get(task))
    ]
    return {"reasons": reasons, "fates": table}


def _rule(recipe: CasesRecipe) -> str:
    section = recipe.filter
    if section.by == "drop-solved":
        return "A case whose mean score is a rounded 5 is dropped, as in HP-Edit (arXiv 2604.19406)."
    return (
        f"A case is kept when its scores deviate by at least {section.min_std:g}, or when their mean lies between "
        f"{section.low:g} and {section.high:g}."
    )


def _sources(content: Content, recipe: CasesRecipe) -> list[dict[str, Any]]:
    """A row a source of the recipe."""
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
