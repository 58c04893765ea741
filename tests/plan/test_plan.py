"""Whole plans: what is found wrong with a recipe, all at once."""

import fcntl
import json
import shutil
from collections import namedtuple

import pytest
from tests.plan.conftest import RECIPES

from hpedit.errors import HPEditError
from hpedit.plan.advice import memory_advice
from hpedit.plan.estimate import plan_run
from hpedit.plan.gpus import GPUS, gpu_by_driver_name, gpu_by_name
from hpedit.plan.plan_text import render_plan
from hpedit.rl.trainer import train
from hpedit.store.shipped import editor_path

HUB = "qwen_image_edit_2509_1x80gb"
H100 = ("NVIDIA H100 80GB HBM3", 81559, 4)
OF_OTHER_COMMANDS = ("cases_", "mini_hour")
TRAINING = sorted(path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith(OF_OTHER_COMMANDS))
MACHINES = {
    "1x24gb": ("RTX-4090", 1), "1x48gb": ("L40S", 1), "1x80gb": ("H100", 1), "8x80gb": ("H100", 8),
    "4x8x80gb": ("H100", 32), "mini": (None, 1),
}  # fmt: skip
DATA = ("the cases ", "the scorer ", "the pairs ")


def errors(plan):
    return [problem["message"] for problem in plan["errors"]]


def warnings(plan):
    return [problem["message"] for problem in plan["warnings"]]


def gpus_of(name):
    """Kind and number of the GPUs that a shipped recipe is for, by the end of its name."""
    return MACHINES[name.rpartition("_")[2]]


@pytest.mark.parametrize("name", TRAINING)
def test_every_training_recipe_passes_but_for_its_data(name, recipe):
    assert len(TRAINING) >= 7
    named, gpus = gpus_of(name)
    plan = plan_run(recipe(name), name, gpu=named, gpus=gpus)
    assert all(message.startswith(DATA) for message in errors(plan))
    assert plan["memory"]["fits"]
    assert all(len(line) <= 80 for line in render_plan(plan).splitlines())
    assert ("can't" in render_plan(plan) or "HF_HUB_OFFLINE" in render_plan(plan)) == (named is not None)


def test_a_whole_recipe_has_no_error(recipe, cases_file, scorer_folder):
    plan = plan_run(recipe("mini", f"cases={cases_file(12)}", f"scorer={scorer_folder()}"), "mini")
    assert errors(plan) == []
    assert warnings(plan) == [f"the scorer {scorer_folder_of(plan)} has not been probed"]
    assert plan["judge"]["questions_per_edit"] == 2
    assert plan["judge"]["edits_judged"] == 36 * 144
    assert plan["time"] is None
    assert "No errors." in render_plan(plan)
    json.dumps(plan, allow_nan=False)


def scorer_folder_of(plan):
    return plan["judge"]["scorers"][0]["path"]


def test_a_recipe_for_cuda_without_a_gpu(recipe):
    plan = plan_run(recipe(HUB), HUB)
    assert "editor.device is cuda, and there is no NVIDIA GPU here" in errors(plan)
    assert plan["memory"]["fits"] is None
    assert plan["time"] is None


def test_too_little_memory_comes_with_what_would_fit(recipe):
    plan = plan_run(recipe(HUB), HUB, gpu="L40S")
    (message,) = [message for message in errors(plan) if message.startswith("out of memory")]
    assert "L40S 48 GB has 45.0" in message
    assert "8-bit base" in " ".join(plan["memory"]["advice"])
    assert "DOES NOT FIT" in render_plan(plan)
    large = plan_run(recipe("qwen_image_edit_2509_8x80gb", "train.micro_batch=24"), "x", gpu="H100", gpus=8)
    assert "train.micro_batch: 12" in large["memory"]["advice"]


def test_torch_without_cuda_beside_a_gpu(recipe, nvidia_smi):
    """The torch of the tests is built for the CPU."""
    import torch

    if torch.version.cuda:
        pytest.skip("this torch is built with CUDA")
    nvidia_smi(H100)
    plan = plan_run(recipe(HUB), HUB)
    assert plan["machine"]["name"] == H100[0]
    assert "there is a GPU, but the installed torch is built without CUDA" in errors(plan)


def test_fewer_gpus_than_asked_for(recipe, nvidia_smi):
    nvidia_smi(H100, H100)
    assert "there are 2 GPUs here, and 8 is asked for" in errors(plan_run(recipe(HUB), HUB, gpus=8))
    assert "there are 2 GPUs here, and cuda:5 is asked for" in errors(
        plan_run(recipe(HUB, "editor.device=cuda:5"), HUB)
    )


def test_memory_that_others_hold_is_left_out(recipe, nvidia_smi):
    nvidia_smi(("NVIDIA H100 80GB HBM3", 81559, 40000))
    plan = plan_run(recipe(HUB), HUB)
    assert "39.1 GiB of the GPU are in use by something else" in warnings(plan)
    assert any(message.startswith("out of memory") for message in errors(plan))


def test_a_port_in_use_is_reported(recipe, nvidia_smi, monkeypatch):
    import socket

    nvidia_smi(H100, H100)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        plan = plan_run(recipe(HUB), HUB, gpus=2)
    assert f"port {port}, where the processes would meet, is in use" in warnings(plan)


def test_trouble_of_this_machines_network_is_an_error_here_and_a_note_elsewhere(recipe, nvidia_smi):
    elsewhere = plan_run(recipe(HUB), HUB, gpu="H100")
    assert any("HF_HUB_OFFLINE" in message for message in warnings(elsewhere))
    nvidia_smi(H100)
    assert any("HF_HUB_OFFLINE" in message for message in errors(plan_run(recipe(HUB), HUB)))


def test_a_hub_that_cannot_be_reached_is_reported_once(recipe, online, scorer_folder):
    online("http://127.0.0.1:9")
    scorer = scorer_folder("Qwen/Qwen3-VL-8B-Instruct")
    plan = plan_run(recipe(HUB, f"scorer={scorer}"), HUB, gpu="H200")
    assert len([message for message in warnings(plan) if "can't be reached" in message]) == 1
    assert plan["disk"]["download"] > 57e9 + 17e9


def test_a_disk_that_is_too_small_is_a_hard_stop(recipe, nvidia_smi, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, 60 * 10**9))
    nvidia_smi(H100)
    plan = plan_run(recipe(HUB), HUB)
    assert any("has 60.0 GB free, and 66." in message for message in errors(plan))
    assert any("60.0 GB free" in message for message in warnings(plan_run(recipe(HUB), HUB, gpu="A100")))
    enough = plan_run(recipe("mini"), "mini")
    assert not any("GB free" in message for message in errors(enough))


def test_checkpoints_count_as_many_as_are_kept(recipe):
    few, many = (
        plan_run(recipe(HUB, f"checkpoint.keep={keep}"), HUB, gpu="H100")["disk"]["checkpoints"] for keep in (1, 9)
    )
    assert many == 5 * few


def test_a_judge_in_the_same_process_that_does_not_fit(recipe, scorer_folder):
    scorer = scorer_folder("Qwen/Qwen3-VL-32B-Instruct")
    plan = plan_run(recipe(HUB, f"scorer={scorer}"), HUB, gpu="H100")
    (message,) = [message for message in errors(plan) if message.startswith("out of memory")]
    assert "beside the judge in the same process" in message
    assert "put the judge on another GPU" in plan["memory"]["advice"][0]
    assert plan_run(recipe(HUB, f"scorer={scorer}"), HUB, gpu="B200")["memory"]["fits"]


def test_a_judges_server_on_the_only_gpu(recipe, scorer_folder, nvidia_smi):
    scorer = scorer_folder("http://127.0.0.1:9/v1#Qwen/Qwen3-VL-32B-Instruct")
    small = scorer_folder("http://127.0.0.1:9/v1#Qwen/Qwen3-VL-4B-Instruct", name="small")
    nvidia_smi(H100)
    plan = plan_run(recipe(HUB, f"scorer={scorer}"), HUB)
    assert any(message.startswith("policy and judge do not fit on one GPU") for message in errors(plan))
    assert any("does not answer" in message for message in warnings(plan))
    fitting = plan_run(recipe(HUB, f"scorer={small}"), HUB)
    assert not any("do not fit" in message for message in errors(fitting))
    assert any("--gpu-memory-utilization" in one["hint"] for one in fitting["warnings"])
    nvidia_smi(H100, H100)
    two = plan_run(recipe(HUB, f"scorer={scorer}"), HUB)
    assert any("do not fit on one GPU" in message for message in warnings(two)), "a second GPU is free for it"


def test_a_revision_that_is_not_a_commit_is_reported(recipe):
    told = "Qwen/Qwen-Image-Edit-2509: no revision is pinned"
    assert told in warnings(plan_run(recipe(HUB), HUB, gpu="H100"))
    branch = warnings(plan_run(recipe(HUB, "editor.revision=main"), HUB, gpu="H100"))
    assert "Qwen/Qwen-Image-Edit-2509: revision main is not a commit and can move" in branch
    pinned = warnings(plan_run(recipe(HUB, f"editor.revision={'a1' * 20}"), HUB, gpu="H100"))
    assert not any("pinned" in message or "can move" in message for message in pinned)


def test_a_group_of_one_is_reported_by_plan_as_by_train(recipe):
    with pytest.raises(HPEditError, match="group of one") as error:
        recipe(HUB, "rollout.group_size=1", "rollout.dynamics=ode")
    assert "ode has no log-probability" in error.value.message


def test_groups_that_do_not_divide_name_the_nearest(recipe):
    plan = plan_run(recipe(HUB, "rollout.groups=12"), HUB, gpu="H100", gpus=8)
    assert {"rollout.groups", "8 or 16"} <= {
        part for one in plan["warnings"] for part in ("rollout.groups", "8 or 16") if part in one["hint"]
    }
    few = plan_run(recipe(HUB), HUB, gpu="H100", gpus=8)
    assert "4 groups are fewer than 8 processes" in errors(few)


def test_targets_that_match_nothing_are_listed_with_the_nearest(recipe):
    plan = plan_run(recipe("mini", "lora.targets=[to_q, to_qq]"), "mini")
    (problem,) = [one for one in plan["errors"] if "lora.targets" in one["message"]]
    assert problem["message"] == "lora.targets match no linear layer: to_qq"
    assert "did you mean to_q?" in problem["hint"]
    assert "img_mlp" not in problem["message"]


def test_an_output_folder_of_another_run_or_in_use_or_not_ours(recipe, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    assert any("is not empty and not a run folder" in message for message in errors(plan_run(recipe(), "mini")))
    (run / "notes.txt").unlink()
    shaping = recipe("mini", "seed=1").shaping()
    (run / "recipe.json").write_text(json.dumps({"stage": "train", "recipe": shaping, "inputs": {"editor": "x"}}))
    # A folder in which nothing was made would take the corrected recipe.
    (run / "metrics.jsonl").write_text("{}\n")
    assert any("seed was 1, is now 0" in message for message in errors(plan_run(recipe(), "mini")))
    same = errors(plan_run(recipe("mini", "seed=1"), "mini"))
    assert not any("another recipe or other inputs" in message for message in same)
    with (run / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert any("in use by another process" in message for message in errors(plan_run(recipe(), "mini")))
    assert sorted(path.name for path in run.iterdir()) == [".lock", "metrics.jsonl", "recipe.json"], (
        "planning changes nothing"
    )


def test_a_plan_makes_no_folder(recipe, tmp_path):
    plan_run(recipe(), "mini")
    assert not (tmp_path / "run").exists()


def test_a_folder_made_by_train_is_free_to_be_continued(recipe, tmp_path, tiny_editor, training_cases):
    from tests.rl.redness import RednessScorer

    small = ("train.iterations=1", "rollout.groups=2", "rollout.group_size=2", "log.tensorboard=false")
    train(recipe("mini", *small), editor=tiny_editor, cases=training_cases, scorer=RednessScorer())
    assert not any(str(tmp_path / "run") in message for message in errors(plan_run(recipe("mini", *small), "mini")))


def test_everything_wrong_is_reported_at_once(recipe, scorer_folder, cases_file):
    refused = scorer_folder(verdict="no signal", reason="r = 0.02", probe={"scorer": "x", "passed": 1, "reasons": []})
    probed = scorer_folder(name="probed", probe={"scorer": "x", "passed": False, "reasons": ["likes blur"]})
    wrong = (
        f"cases={cases_file(3)}",
        f"scorer={refused}",
        f"rewards=[{{name: b, scorer: {probed}}}, {{name: c, scorer: nowhere}}]",
        "rollout.cfg=4.0",
        "lora.targets=[nothing]",
    )
    found = errors(plan_run(recipe("mini", *wrong), "mini"))
    assert found == [
        "3 different training cases are too few for 12 groups",
        f"the scorer {refused} has no signal and is refused as a reward: r = 0.02",
        f"the scorer {probed} failed its probe: likes blur",
        "the scorer nowhere does not exist",
        "rollout.cfg is not 1",
        "lora.targets match no linear layer: nothing",
    ]
    forced = plan_run(recipe("mini", *wrong[1:3], "scorer_force=true"), "mini")
    assert not any("signal" in message or "probe" in message for message in errors(forced))


def test_equal_cases_count_once(recipe, tmp_path, make_case):
    from hpedit.store.tables import write_cases

    write_cases(tmp_path / "same.parquet", [make_case(f"case-{i}") for i in range(20)])
    plan = plan_run(recipe("mini", f"cases={tmp_path / 'same.parquet'}"), "mini")
    assert "1 different training cases are too few for 12 groups" in errors(plan)


def test_damaged_cases_and_scorers_are_named(recipe, tmp_path, scorer_folder):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not")
    scorer = scorer_folder()
    (tmp_path / "scorer" / "calibration.json").write_text("{}")
    found = errors(plan_run(recipe("mini", f"cases={tmp_path / 'bad.parquet'}", f"scorer={scorer}"), "mini"))
    assert any("bad.parquet" in message for message in found)
    assert any("is damaged" in message for message in found)


def test_pairs_of_an_offline_recipe(recipe, preference_pairs):
    offline = "qwen_image_edit_2509_dpo_1x80gb"
    plan = plan_run(recipe(offline, f"dpo.pairs={preference_pairs(3)}"), offline, gpu="H100")
    assert errors(plan) == ["3 pairs are too few for 16 groups"]
    assert plan["judge"]["edits_judged"] == 0
    assert "a judge" not in render_plan(plan)


def test_too_many_sources_for_the_editor(recipe, cases_file):
    cases = cases_file(21, sizes=((32, 32), (32, 32)))
    plan = plan_run(recipe("flux_kontext_1x80gb", f"cases={cases}"), "x", gpu="H100")
    assert any("cases have up to 2 sources" in message for message in errors(plan))
    assert plan_run(recipe(HUB, f"cases={cases}"), HUB, gpu="H100")["editor"]["tokens"]["source"] == 2048


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("./nowhere", "neither a folder nor the id of a hub model"),
        ("mini2", "neither a folder nor the id of a hub model"),
        ("someone/unheard-of", "not among the models that plan knows"),
    ],
)
def test_an_unknown_editor_is_reported(recipe, model, said):
    plan = plan_run(recipe("mini", f"editor.model={model}"), "mini")
    assert any(said in message for message in errors(plan))
    assert "memory" not in plan
    assert "would not run" in render_plan(plan)


def test_a_folder_that_is_no_whole_pipeline_is_named(recipe, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(editor_path(), model)
    assert not any("model" in message for message in errors(plan_run(recipe("mini", f"editor.model={model}"), "m")))
    config = model / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"num_layers": 6', '"num_layers": 5'))
    found = errors(plan_run(recipe("mini", f"editor.model={model}"), "m"))
    assert any("its config.json describes" in message for message in found)
    (model / "model_index.json").unlink()
    assert any(
        "is not a pipeline" in message for message in errors(plan_run(recipe("mini", f"editor.model={model}"), "m"))
    )


def test_a_cached_hub_model_needs_no_hub(recipe, tmp_path):
    folder = tmp_path / "hf" / "hub" / "models--someone--small"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c" * 40)
    shutil.copytree(editor_path(), folder / "snapshots" / ("c" * 40))
    plan = plan_run(recipe("mini", "editor.model=someone/small"), "mini")
    assert plan["disk"]["models"] == [{"name": "someone/small", "bytes": 0, "source": "cache"}]
    assert not any("HF_HUB_OFFLINE" in message for message in errors(plan))


def test_gpus_by_any_spelling_and_by_the_drivers_names():
    assert gpu_by_name("h100") is gpu_by_name("H100 SXM 80 GB") is GPUS["H100"]
    assert gpu_by_name("rtx 4090") is GPUS["RTX-4090"]
    with pytest.raises(HPEditError, match="not in the table"):
        gpu_by_name("GTX 970")
    mib = 2**20
    for name, memory, key in (
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
        ("NVIDIA H100 PCIe", 81559, "H100-PCIe"),
        ("NVIDIA H100 NVL", 95830, "H100-NVL"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100"),
        ("NVIDIA A100-PCIE-40GB", 40960, "A100-40"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("NVIDIA L4", 23034, "L4"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX-4090"),
        ("NVIDIA GeForce RTX 5090", 32607, "RTX-5090"),
        ("NVIDIA B200", 183359, "B200"),
    ):
        assert gpu_by_driver_name(name, memory * mib) is GPUS[key], name
    assert gpu_by_driver_name("NVIDIA GeForce GTX 970", 4096 * mib) is None


def test_advice_is_given_only_where_it_fits(recipe):
    class Never:
        fits = False

    from hpedit.plan.editor_shape import editor_shape_of_hub
    from hpedit.plan.layout import Layout

    shape = editor_shape_of_hub("Qwen/Qwen-Image-Edit-2509", {"resolution": 512})
    layout = Layout(1, True, "float32")
    assert memory_advice(recipe(HUB), shape, layout, judge=True, account=lambda *_: Never()) == []
