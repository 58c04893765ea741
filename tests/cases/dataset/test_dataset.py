"""The dataset of a build: shards, card, plots, picture sheet."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt
from PIL import Image

from hpedit.cases.dataset.card import card_header, escape_cell
from hpedit.cases.dataset.facts import Content, Facts, public_recipe
from hpedit.cases.dataset.plots import by_category, by_task, distribution_plot
from hpedit.cases.dataset.sheet import (
    CELLS,
    UNDRAWABLE,
    SheetRow,
    choose_sheet_cases,
    drawable_text,
    make_thumbnail,
    text_width,
    wrap_text,
    write_sheet,
)
from hpedit.cases.dataset.write import decision_cells, write_dataset
from hpedit.cases.hardness import FilterDecision
from hpedit.cases.recipe import CasesRecipe
from hpedit.config.editor import EditorSection
from hpedit.errors import HPEditError
from hpedit.records import Case
from hpedit.store.tables import case_row, read_cases
from hpedit.tasks import TASK_IDS

CHARTS = find_spec("matplotlib") is not None
"""Whether the extra for charts is installed."""
LEAKS = ("/home/me", "10.0.0.1", "secret", "C:\\")
RECIPE = CasesRecipe.model_validate(
    {
        "output": "/home/me/secret-output",
        "sources": (
            {"folder": "/home/me/photos", "licence": "cc-by-4.0", "origin": "Mine | <b>own</b>"},
            {"webdataset": "C:\\data\\shards\\*.tar"},
        ),
        "duplicates": {"exclude": ("/home/me/bench.parquet",)},
        "labels": {"by": "judge", "model": "http://10.0.0.1:8000/v1#Qwen/Qwen3-VL-8B"},
        "edits": {"editor": "/home/me/editor", "per_case": 2},
        "filter": {"by": "informative", "scorer": "/home/me/scorer"},
        "dataset": {"name": "Mine", "shard_rows": 4, "licence": "cc-by-4.0"},
    }
)
KEPT = FilterDecision(True, "spread", 3.25, 0.5, 1)


def picture(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    return Image.new("RGB", size, (seed * 40 % 256, 90, 200))


def rows(number: int = 10) -> Iterator[dict[str, Any]]:
    for n in range(number):
        case = Case(
            f"case-{n}", TASK_IDS[n % 8], f"Do {n}.", (picture(n),), f"photo-{n // 2}", "dog" if n % 2 else "",
            f"there/{n}.png", "" if n == 3 else "cc-by-4.0",
        )  # fmt: skip
        notes = {"photo": f"{n % 2}/{n // 2}.png", "language": "en", "wording": 0, "requirement": "", "by": "template"}
        yield {"target": None, **case_row(case), **notes, **decision_cells(KEPT)}


def facts(total: int = 10) -> Facts:
    kept = {(TASK_IDS[n % 8], "dog" if n % 2 else ""): 1 for n in range(total)}
    written = {key: 30 for key in kept} | {("style", "traffic light"): 100}
    return Facts(
        total=total,
        stages={"1-photos": {"photos": 200, "skipped": 3}, "7-filter": {"kept": total}},
        distributions={"written": written, "kept": kept},
        decisions={"style": {"impossible": 1}, "addition": {"spread": total, "solved": 2}},
        left_out={"near duplicate": 6},
        fingerprints={"editor": "mini@1234", "scorer": "0123456789abcdef"},
    )


def sheet_rows() -> list[SheetRow]:
    def row(n: int, decision: FilterDecision, scores: list[float | None]) -> SheetRow:
        edits = [picture(n + k) for k in range(len(scores))]
        return SheetRow(f"dropped-{n}", TASK_IDS[n], f"Make it {n}.", picture(n), edits, scores, decision)

    return [
        row(0, FilterDecision(False, "solved", 4.9, 0.02), [4.9, 4.92]),
        row(1, FilterDecision(False, "solved", 4.8, 0.0), [4.8, 4.8]),
        row(7, FilterDecision(False, "impossible", 0.1, None, 1), [0.1, None]),
    ]


def build(folder: Path) -> Path:
    write_dataset(folder, rows(), facts(), RECIPE, sheet_rows())
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("made") / "dataset")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_are_named_as_the_hub_names_them_and_hold_the_cases_in_order(made: Path) -> None:
    shards = sorted((made / "data").iterdir())
    assert [path.name for path in shards] == [f"train-{n:05d}-of-00003.parquet" for n in range(3)]
    cases = [case for path in shards for case in read_cases(path)]
    assert [case.id for case in cases] == [f"case-{n}" for n in range(10)]
    assert cases[5].source.tobytes() == picture(5).tobytes()


def test_hugging_face_datasets_reads_folder_and_shards_with_pictures(made: Path, tmp_path: Path) -> None:
    # As a hub would give it: by the configuration in the card.
    found = datasets.load_dataset(str(made), split="train", cache_dir=str(tmp_path))
    assert found.num_rows == 10
    for name in ("source", "source_2", "source_3", "target", "region"):
        assert isinstance(found.features[name], datasets.Image)
    row = found[5]
    assert (row["source"].size, row["source_2"]) == ((24, 16), None)
    assert (row["filter_reason"], row["base_mean"], row["base_std"], row["base_unscorable"]) == ("spread", 3.25, 0.5, 1)
    files = str(made / "data" / "*.parquet")
    plain = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert plain.features == found.features


def test_two_builds_are_equal_byte_for_byte_and_a_second_one_leaves_nothing_behind(made: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "elsewhere")
    (again / "data" / "train-00007-of-00008.parquet").write_bytes(b"old")
    (again / "sheets" / "dropped-09.png").write_bytes(b"old")
    build(again)
    assert contents(again) == contents(made)


def test_nothing_in_it_names_this_machine(made: Path) -> None:
    files = contents(made)
    assert len(files) == 6 + 2 * CHARTS
    for name, data in files.items():
        for leak in (*LEAKS, str(made.parent)):
            assert leak.encode() not in data, name


def test_the_card_says_what_the_hub_asks(made: Path) -> None:
    card = DatasetCard.load(made / "README.md")
    data = card.data.to_dict()
    assert (data["license"], data["task_categories"], data["language"]) == ("cc-by-4.0", ["image-to-image"], ["en"])
    assert data["size_categories"] == ["n<1K"]
    assert data["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]


def test_the_card_tells_counts_licences_filter_and_fingerprints(made: Path) -> None:
    text = (made / "README.md").read_text()
    assert "Mine \\| &lt;b&gt;own&lt;/b&gt;" in text
    for line in (
        "| 1-photos | photos 200, skipped 3 |",
        "| near duplicate | 6 |",
        "| cc-by-4.0 | 9 |",
        "| not stated | 1 |",
        "| scorer | `0123456789abcdef` |",
        "| Object addition | 10 | 2 | 0 | 83% |",
        "| Style transfer | 0 | 0 | 1 | 0% |",
        "| webdataset \\*.tar | as each photograph says | none | 5 | 5 |",
    ):
        assert line in text
    assert text.index("| Object addition | 10 | 2") < text.index("| Style transfer | 0 | 0")
    assert "standard deviation of at least 0.15, or a mean between 0.5 and 4.5" in text
    assert "editor: editor\n" in text
    assert "model: Qwen/Qwen3-VL-8B\n" in text


def test_the_card_is_whole_markdown_and_shows_pictures_that_exist(made: Path) -> None:
    body = (made / "README.md").read_text().split("---\n", 2)[2]
    page = MarkdownIt("commonmark").enable("table").render(body)
    assert page.count("<table>") == 8
    for table in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
        # A cell that broke its row would make another number of columns, or an empty one at the end.
        assert len({len(re.findall(r"<t[hd]\b", row)) for row in rows}) == 1
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert shown == [*["plots/tasks.png", "plots/categories.png"] * CHARTS, "sheets/dropped-01.png"]
    assert all((made / name).is_file() for name in shown)


def test_the_counts_have_a_twin_in_json(made: Path) -> None:
    counts = json.loads((made / "counts.json").read_text())
    assert counts["cases"] == 10
    assert counts["distributions"]["written"]["style"] == {"dog": 30, "traffic light": 100}
    assert counts["licences"] == {"": 1, "cc-by-4.0": 9}
    assert [(source["photos"], source["cases"]) for source in counts["sources"]] == [(5, 5), (5, 5)]


@pytest.mark.parametrize(
    ("licence", "expected"),
    [(None, "unknown"), ("CC-BY-4.0", "cc-by-4.0"), ("odbl", "odbl"), ("My terms", "other")],
)
def test_a_licence_is_named_as_the_hub_knows_it(licence: str | None, expected: str) -> None:
    recipe = RECIPE.model_copy(update={"dataset": RECIPE.dataset.model_copy(update={"licence": licence})})
    found = card_header(20_000, Content(), recipe)
    assert found["license"] == expected
    assert found.get("license_name") == ("my-terms" if expected == "other" else None)
    assert found["size_categories"] == ["10K<n<100K"]


def test_a_dataset_without_filter_and_categories_has_a_card_too(tmp_path: Path) -> None:
    recipe = CasesRecipe.model_validate({"output": "out", "sources": ({"mini": "train"}, {"folder": "there"})})
    plain = Facts(10, {"7-filter": {"kept": 10}}, {"kept": {("style", ""): 10}})
    write_dataset(tmp_path, (row | decision_cells(FilterDecision(True, "unfiltered")) for row in rows()), plain, recipe)
    text = (tmp_path / "README.md").read_text()
    assert "No filter was applied." in text
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["tasks.png"] * CHARTS
    assert list((tmp_path / "sheets").iterdir()) == []
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "unknown"


@pytest.mark.parametrize(("total", "rows_given"), [(9, 10), (11, 10), (4, 10)])
def test_another_number_of_cases_than_told_is_refused(tmp_path: Path, total: int, rows_given: int) -> None:
    with pytest.raises(HPEditError, match=f"expected {total} cases in the dataset, found {rows_given}"):
        write_dataset(tmp_path, rows(rows_given), facts(total), RECIPE)
    assert not (tmp_path / "README.md").exists()


def test_no_case_and_a_case_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="no case is left"):
        write_dataset(tmp_path, iter(()), Facts(0, {}, {}), RECIPE)
    with pytest.raises(HPEditError, match="case-0 appears twice"):
        write_dataset(tmp_path, [*rows(5), *rows(5)], facts(10), RECIPE)


def test_public_recipe_keeps_hub_ids_and_drops_places() -> None:
    public = public_recipe(RECIPE)
    assert "output" not in public
    assert public["sources"][0]["folder"] == "photos"
    assert public["sources"][1] == {"webdataset": "*.tar"}
    assert public["duplicates"]["exclude"] == ["bench.parquet"]

    def edited_by(**editor: object) -> CasesRecipe:
        edits = RECIPE.edits.model_copy(update={"editor": EditorSection.model_validate(editor)})
        return RECIPE.model_copy(update={"edits": edits})

    hub = "Qwen/Qwen-Image-Edit-2509"
    assert public_recipe(edited_by(model=hub))["edits"]["editor"] == hub
    full = edited_by(model="a/b/mine", dtype="bfloat16", frozen_loras=("/home/me/fast.safetensors",))
    shown = {"model": "mine", "dtype": "bfloat16", "frozen_loras": ["fast.safetensors"]}
    assert public_recipe(full)["edits"]["editor"] == shown
    for name, expected in (
        ("./models/mine", "mine"),
        ("models/of/mine", "mine"),
        ("~/mine/", "mine"),
        ("mini", "mini"),
    ):
        assert public_recipe(edited_by(model=name))["edits"]["editor"] == expected


def test_without_matplotlib_a_card_has_no_charts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpedit.cases.dataset.write.find_spec", lambda _: None)
    text = (build(tmp_path) / "README.md").read_text()
    assert "plots/" not in text
    assert "sheets/dropped-01.png" in text
    assert list((tmp_path / "plots").iterdir()) == []


def test_a_chart_does_not_depend_on_the_users_matplotlib_style(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    draw = partial(distribution_plot, "Tasks", [("a $x$ of \u72d7", [2])], ["kept"])
    plain = draw()
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    assert draw() == plain


def test_texts_of_users_cannot_break_a_table() -> None:
    assert escape_cell("a|b\n# c <script> `x` [y](z)") == "a\\|b # c &lt;script&gt; \\`x\\` \\[y\\](z)"


def test_plots_show_tasks_in_order_and_sum_up_the_rarest_categories() -> None:
    counts = {("style", "dog"): 5, ("addition", "cat"): 3, ("style", "owl"): 1, ("style", "emu"): 1, ("style", ""): 2}
    after = {("style", "owl"): 1}
    both = {"before": counts, "after": after}
    assert by_task(both) == [("Object addition", [3, 0]), ("Style transfer", [9, 1])]
    assert by_category(both) == [("dog", [5, 0]), ("cat", [3, 0]), ("owl", [1, 1]), ("emu", [1, 0]), ("none", [2, 0])]
    assert by_category(both, most=4) == [("dog", [5, 0]), ("cat", [3, 0]), ("2 more", [2, 1]), ("none", [2, 0])]


@pytest.mark.parametrize("number", [1, 28, 29, 81])
def test_bars_are_as_long_as_their_shares(number: int) -> None:
    pytest.importorskip("matplotlib")
    rows = [(f"name {n}", [2, 1]) for n in range(number - 1)] + [("all of it", [4, 0])]
    image = Image.open(io.BytesIO(distribution_plot("Categories", rows, ["before", "after"]))).convert("RGB")
    grey, teal = (180, 188, 198), (13, 107, 128)
    if number == 1:
        assert _longest(image, grey) > 500
        assert _longest(image, teal) < 60  # only the legend's box is left of the second
    else:
        # The longest bar of the second series is 1 of n - 1 cases, of the first 4 of 2 n + 2.
        first, second = _longest(image, grey), _longest(image, teal)
        assert second / first == pytest.approx((1 / (number - 1)) / (4 / (2 * number + 2)), abs=0.02)


def _longest(image: Image.Image, colour: tuple[int, int, int]) -> int:
    """Of the horizontal runs of a colour, in px."""
    data, best = image.tobytes(), 0
    for y in range(image.height):
        line = data[y * image.width * 3 : (y + 1) * image.width * 3]
        for run in re.finditer(b"(?:" + re.escape(bytes(colour)) + b")+", line):
            best = max(best, len(run[0]) // 3)
    return best


def test_the_sheet_shows_every_reason_and_task_in_turn() -> None:
    decisions = {f"s{n}": FilterDecision(False, "solved", 5.0) for n in range(50)}
    decisions |= {
        "kept": FilterDecision(True, "spread"),
        "i0": FilterDecision(False, "impossible", 0.0),
        "u0": FilterDecision(False, "unscorable"),
    }
    tasks = {name: "style" for name in decisions} | {"s7": "addition"}
    chosen = choose_sheet_cases(decisions, tasks, 8)
    assert len(chosen) == 8
    assert chosen[0] == "s7"
    assert chosen[-2:] == ["i0", "u0"]
    assert choose_sheet_cases(dict(reversed(decisions.items())), tasks, 8) == chosen
    assert len(choose_sheet_cases(decisions, tasks, 400)) == 52
    assert choose_sheet_cases(decisions, tasks, 0) == []


def test_many_dropped_cases_go_to_several_sheets(tmp_path: Path) -> None:
    row = sheet_rows()[0]
    names = write_sheet(tmp_path, (row for _ in range(CELLS + 1)), {"solved": 900})
    assert names == ["dropped-01.png", "dropped-02.png"]
    heights = [Image.open(tmp_path / name).height for name in names]
    assert heights[0] > 5 * heights[1]


def test_thumbnails_keep_the_shape_and_enlarge_small_pictures_by_whole_pixels() -> None:
    assert make_thumbnail(picture(1, (2400, 1200))).size == (120, 60)
    assert make_thumbnail(picture(1, (32, 32))).size == (96, 96)
    assert make_thumbnail(picture(1, (1, 1000))).size == (1, 120)


def test_odd_instructions_on_the_sheet(tmp_path: Path) -> None:
    row = sheet_rows()[0]
    for text in ("x" * 100_000, "word " * 20_000, "把狗换成猫", "a\nb\tc", "‮right to left", "🦄🦄🦄"):
        odd = SheetRow("case", "style", text, row.source, row.edits, row.scores, row.decision)
        write_sheet(tmp_path, [odd], {"solved": 1})
        assert Image.open(tmp_path / "dropped-01.png").width < 1500
    assert drawable_text("把狗换成猫") == UNDRAWABLE
    assert drawable_text("naïve café’s 狗") == "naive cafe's ?"
    lines = wrap_text("word " * 200, 14, 100, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("...")
    assert all(text_width(line, 14) <= 100 for line in lines)
