"""What people read: short lines, links that lead somewhere, and words that a reader knows."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
RECIPES = sorted(path for path in (ROOT / "recipes").iterdir() if path.is_file())
WIDEST = 120
OLD_WORDS = re.compile(r"\b(learnt|anew|menders?)\b", re.IGNORECASE)
LINK = re.compile(
    r"""\]\(\s*<?([^()\s>]+)>?[^()]*\)|(?:src|href)=["']([^"']+)["']|^\[[^\]]+\]:\s*(\S+)""", re.MULTILINE
)
CODE = re.compile(r"^( *)```.*?^\1```\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links(text: str) -> list[str]:
    """Targets of links and images, without those in code."""
    return [next(filter(None, found)) for found in LINK.findall(CODE.sub("", text))]


def heading_ids(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub(lambda code: "" if "\n" in code[0] else code[0], text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def too_long(line: str) -> bool:
    return len(line) > WIDEST and not any(len(word) > WIDEST for word in re.findall(r"https?://\S+", line))


@pytest.mark.parametrize("path", [*PAGES, *RECIPES], ids=name)
def test_lines_are_at_most_120_characters(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if too_long(line)] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_relative_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for link in links(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, heading = unquote(link).partition("#")
        target = path.parent / file if file else path
        if not target.exists() or (heading and heading not in heading_ids(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", [*PAGES, *RECIPES], ids=name)
def test_old_words_stand_nowhere(path: Path) -> None:
    assert OLD_WORDS.findall(path.read_text(encoding="utf-8")) == []


def test_links_are_found_outside_code_alone() -> None:
    text = '[a](b.md#c) ![d](e.png) <img src="f.png"> `[g](h.md)`\n```\n[i](j.md)\n```\n[k]: l.md\n'
    assert links(text) == ["b.md#c", "e.png", "f.png", "l.md"]


def test_only_an_address_that_alone_is_too_long_may_exceed_a_line() -> None:
    assert too_long("x" * 121)
    assert too_long("x" * 100 + " https://example.org/" + "y" * 20)
    assert not too_long("see https://example.org/" + "y" * 120)
