"""The command line answers at once, keeps data on stdout and messages on stderr, and names what can be mended."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.shared_data import shared_data

from hpedit import __version__

ROOT = Path(__file__).parents[1]
MINI = str(ROOT / "recipes" / "mini.yaml")
COMMANDS = [
    ["demo"],
    ["mini", "build"],
    ["ratings", "import"],
    ["scorer", "fit"],
    ["scorer", "eval"],
    ["cases", "build"],
    ["edit"],
    ["train"],
    ["plan"],
    ["bench", "run"],
    ["bench", "score"],
    ["bench", "compare"],
    ["bench", "report"],
]


def hpedit(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpedit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hpedit', '--help']\n"
        "from hpedit.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = ('torch', 'numpy', 'diffusers', 'transformers', 'PIL', 'pyarrow', 'rich', 'pydantic')\n"
        "assert not set(heavy) & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_answers_in_half_a_second() -> None:
    """Processor time, which is the time it takes on an idle machine: a loaded one delays the clock."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert hpedit("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.5


def test_checking_a_recipe_needs_no_torch() -> None:
    code = (
        "import sys, hpedit.config.recipe, hpedit.records, hpedit.tasks, hpedit.progress, hpedit.store.run_folder\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = hpedit(*command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert done.stderr == ""


def test_the_first_help_shows_every_command_whole() -> None:
    shown = hpedit("--help", env=os.environ | {"COLUMNS": "80"}).stdout
    for command in COMMANDS:
        assert f"\n  {command[0]} " in shown
    assert "..." not in shown.partition("Commands:")[2]


def test_version() -> None:
    assert hpedit("--version").stdout == f"hpedit {__version__}\n"


def test_a_mistake_of_use_is_exit_code_2() -> None:
    assert hpedit("trian").returncode == 2
    assert hpedit("train").returncode == 2


def test_an_error_and_a_hint_go_to_stderr(tmp_path: Path) -> None:
    done = hpedit("train", str(tmp_path / "no.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'no.yaml'} does not exist\n"
    done = hpedit("train", MINI, "--set", "sede=1")
    assert done.stderr == "error: --set sede=1: sede: unknown key (did you mean seed?)\n"
    (tmp_path / "tab.yaml").write_text("a:\n\tb: 1\n")
    assert "\nhint: indent with spaces" in hpedit("train", str(tmp_path / "tab.yaml")).stderr


def test_a_dry_run_prints_a_recipe_that_reads_back(tmp_path: Path) -> None:
    first = hpedit("train", MINI, "--set", "train.kl=1e-3", "--dry-run")
    assert first.stderr == ""
    (tmp_path / "again.yaml").write_text(first.stdout)
    assert hpedit("train", str(tmp_path / "again.yaml"), "--dry-run").stdout == first.stdout
    assert "kl: 0.001" in first.stdout


def test_resume_with_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    done = hpedit("train", MINI, "--set", f"output={tmp_path / 'new'}", "--resume")
    assert done.returncode == 2
    assert "has no run to resume" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_closed_pipe_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["--help"], ["train", MINI, "--dry-run"]):
        command = [sys.executable, "-m", "hpedit", *arguments]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert "Error" not in done.stderr
    os.close(writing)


def test_a_broken_invariant_keeps_its_traceback() -> None:
    """Only what a user can mend is made short; a bug is shown whole."""
    code = (
        "import hpedit.cli as cli\n"
        "import hpedit.config.recipe as config\n"
        "def broken(*_): raise KeyError('bug')\n"
        "config.load_recipe = broken\n"
        "import sys; sys.argv = ['hpedit', 'train', 'x']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "KeyError: 'bug'" in done.stderr


@pytest.mark.slow
def test_ratings_of_real_people_from_import_to_json(tmp_path: Path) -> None:
    shared = shared_data("imagenhub_tie")
    imported = hpedit("ratings", "import", "--format", "imagenhub", str(shared), "--out", str(tmp_path), "--json")
    assert imported.returncode == 0, imported.stderr
    judge = json.loads(imported.stdout)["judges"][0]
    tables = [part for name in ("edits", "ratings", "scores") for part in (f"--{name}", str(tmp_path / f"{name}.csv"))]
    folder = str(tmp_path / "scorer")
    fitted = hpedit("scorer", "fit", *tables, "--judge", judge, "--out", folder)
    assert fitted.returncode == 0, fitted.stderr
    refused = hpedit("scorer", "eval", *tables, "--scorer", folder)
    assert (refused.returncode, "were used to fit" in refused.stderr) == (2, True)
    seen = ("--scorer", folder, "--allow-seen")
    result = json.loads(hpedit("scorer", "eval", *tables, *seen, "--json").stdout)
    for block in (result, result["raw"], result["human"]):
        for measure in ("pearson", "spearman", "pairwise_accuracy"):
            assert block[measure].keys() >= {"value", "ci95"}
    assert result["verdict"] in ("ok", "no signal")
    shown = hpedit("scorer", "eval", *tables, *seen).stdout
    assert "pairwise_accuracy" in shown
    assert "verdict:" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed_and_answers(shell: str, tmp_path: Path) -> None:
    # The shell is named: the one that these tests run under is unknown, and may be make's `sh`.
    home = os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = hpedit("--show-completion", shell, env=home)
    assert "_HPEDIT_COMPLETE" in shown.stdout
    typed = {"COMP_WORDS": "hpedit scorer e", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "hpedit scorer e"}
    typed["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    asked = hpedit(env=home | typed | {"_HPEDIT_COMPLETE": f"complete_{shell}"})
    assert "eval" in asked.stdout
    assert hpedit("--install-completion", shell, env=home).returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
