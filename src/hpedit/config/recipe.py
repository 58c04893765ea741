"""Schema of a training recipe, as pydantic sections. No torch.

Where the paper is silent, a default is that of the best public code for edits (flow_grpo, Edit-R1, verl-omni), as the
field's docstring says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from hpedit.config.editor import EditorSection as EditorSection
from hpedit.config.kinds import TRAIN
from hpedit.config.reading import Section, read_recipe

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


RESUMABLE_KEYS = ("output", "scorer_force", "scale")
"""Keys that may change when a run is resumed."""
FREE_KEYS = ("cases", "scorer", "dpo.pairs", "evaluate.cases", "evaluate.second_judge", "train.iterations")
"""Keys that a run's folder keeps and does not compare: where inputs lie, whose content is compared instead, and the
number of iterations, with which a run is prolonged."""


class LoraSection(Section):
    """The adapter, all that is trained. Rank from the paper; alpha and targets from Edit-R1's recipe for 2509."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 32
    alpha: Positive = 64.0
    """The adapter's output is scaled by alpha / rank."""
    targets: Annotated[tuple[Text, ...], Field(min_length=1)] = (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    )
    """Ends of module names; each must match at least one module of the transformer."""
    comfyui: bool = False
    """Write lora/comfyui/lora.safetensors too, under the names that ComfyUI reads."""


class RolloutSection(Section):
    """How edits are sampled for training. The paper is silent; these follow public Qwen-Image-Edit recipes."""

    steps: Annotated[int, Field(ge=2, le=1000)] = 8
    """Sampling steps, at least 2: the schedule of Qwen-Image-Edit has no single-step form."""
    dynamics: Literal["flow_sde", "dance_sde", "cps"] = "flow_sde"
    """The stochastic step. ODE is refused: it has no log-probability, and the Flow-GRPO loss needs one."""
    noise: Annotated[float, Field(gt=0.0, le=2.0)] = 0.8
    """Noise level of the stochastic steps (a, or eta of dance_sde); 0 would be the ODE."""
    window: Annotated[int, Field(ge=1)] = 2
    """Consecutive stochastic steps, the only ones that are trained on; the rest are ODE steps."""
    window_start: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 4)
    """Lowest and highest first step of the window, both included; drawn for each group of each iteration."""
    group_size: Annotated[int, Field(le=1024)] = 12
    """Edits of one case that are compared with each other, at least 2."""
    groups: Count = 12
    """Cases an iteration."""
    cfg: Annotated[float, Field(ge=1.0, le=20.0)] = 1.0
    """Classifier-free guidance in training, rollout and replay alike; 1 is off and saves the second forward. One public
    trainer collapses with 4.5 and is stable without."""
    shared_noise: bool = False
    """All edits of a group start from the same noise, and share the steps before the window."""
    overlap: bool = True
    """Judge edits in a background thread while the next are sampled; false takes turns, for a machine whose cores are
    all busy with either."""
    dynamic_sampling: Annotated[int, Field(ge=0, le=20)] = 0
    """Rounds in which zero-variance groups are replaced by groups of further cases; 0 only skips them."""

    RENAMED: ClassVar[Mapping[str, str]] = {"refill": "dynamic_sampling"}

    @field_validator("dynamics", mode="before")
    @classmethod
    def _has_log_probability(cls, value: Any) -> Any:
        if value == "ode":
            raise ValueError(
                "ode has no log-probability, which the Flow-GRPO loss needs; use flow_sde, dance_sde or cps"
            )
        return value

    @field_validator("group_size")
    @classmethod
    def _has_a_comparison(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"must be at least 2, is {value}: an edit's advantage is its reward against the others of its group, "
                "and a group of one has no others, so only noise would be trained on"
            )
        return value

    @field_validator("window")
    @classmethod
    def _window_fits(cls, window: int, info: ValidationInfo) -> int:
        steps = info.data.get("steps")
        if steps is not None and window > steps - 1:
            raise ValueError(
                f"must be at most {steps - 1}, is {window}: of {steps} steps the last goes to noise level 0 and "
                "cannot be stochastic"
            )
        return window

    @field_validator("window_start")
    @classmethod
    def _start_fits(cls, value: tuple[int, int], info: ValidationInfo) -> tuple[int, int]:
        low, high = value
        if low > high:
            raise ValueError(f"the lowest start, {low}, lies above the highest, {high}")
        steps, window = info.data.get("steps"), info.data.get("window")
        if steps is not None and window is not None and high + window > steps - 1:
            raise ValueError(
                f"the highest start must be at most {steps - 1 - window}, is {high}: a window of {window} from there "
                f"would hold step {high + window - 1} of 0..{steps - 1}, and the last goes to noise level 0 and cannot "
                "be stochastic"
            )
        return value


class TrainSection(Section):
    """The optimisation. AdamW and learning rate from the paper; clip from flow_grpo's edit recipes."""

    algorithm: Literal["flow_grpo", "grpo_guard", "nft", "online_dpo", "expert_iteration", "offline_dpo"] = "flow_grpo"
    """Trains on groups of scored edits, or (offline_dpo) on the rated pairs of dpo.pairs."""
    iterations: Count = 60
    """Rounds of sampling, scoring and updating."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 3e-4
    weight_decay: NonNegative = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-4
    """How far the importance ratio may leave 1; a mean over all latent dimensions moves little, hence so small."""
    kl: NonNegative = 0.0
    """Weight of the KL to the base (the adapter switched off); 0 saves its forward pass. NFT's recipes use 1e-4."""
    advantage_std: Literal["batch", "group"] = "batch"
    """Whose standard deviation divides the advantage; the batch's is what public edit recipes use."""
    max_grad_norm: Positive = 1.0
    micro_batch: Count = 48
    """Edits a forward pass (gradient accumulation over the rest); changes memory and speed, not the result."""
    checkpointing: Literal["auto", "on", "off"] = "auto"
    """Gradient checkpointing: keeps less in memory and costs one more forward; auto is on for a GPU alone."""
    inner_updates: Annotated[int, Field(ge=1, le=100)] = 1
    """Optimiser steps an iteration, each with noise and levels of its own where the algorithm draws some; with 1 every
    update is on-policy."""
    ema: Fraction = 0.9
    """Decay per iteration of the exported moving average of the LoRA; 0 exports the last weights, with which sampling
    always continues. Adam takes full steps along noise too, which the average cancels."""


class NFTSection(Section):
    """DiffusionNFT, read where train.algorithm is nft; values of Edit-R1's recipe for 2509 where it gives them."""

    beta: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    """How far the good and bad branch lie from the old policy."""
    advantage_clip: Positive = 5.0
    """c: an advantage of c or more is wholly good."""
    levels: Count = 2
    """Noise levels of the schedule at which each edit is trained on, redrawn every iteration."""
    old_decay_rate: NonNegative = 0.001
    """The old policy keeps min(rate * iteration, old_decay) of itself after each iteration."""
    old_decay: Fraction = 0.5


class DPOSection(Section):
    """Diffusion-DPO, read where train.algorithm is online_dpo or offline_dpo."""

    beta: Positive = 2000.0
    """Strength of the pull back to the base; Diffusion-DPO's value."""
    levels: Count = 2
    """Noise levels of the schedule at which each pair is trained on."""
    pairs_per_group: Count = 3
    """Online: best against worst, second best against second worst, and so on."""
    pairs: Text | None = None
    """Offline: the file that `hpedit ratings pairs` wrote."""


class RewardSection(Section):
    """A further reward beside `scorer`, whose weight is 1."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    """What metrics call it."""
    scorer: Text
    """As the recipe's `scorer`."""
    weight: Positive = 1.0
    """Each reward is divided by its own deviation before the sum, so that one with a small spread counts too."""


class CheckpointSection(Section):
    """Checkpoints, from which a killed run continues."""

    every: Count = 5
    """Iterations between two checkpoints."""
    keep: Count = 3
    """Checkpoints kept; at least one intact one always stays."""


class ScaleSection(Section):
    """Several processes, started by `accelerate launch` or torchrun. Nothing here changes the result."""

    shard: Literal["auto", "none", "fsdp2"] = "auto"
    """fsdp2 (experimental) shards the frozen base over the processes, none keeps it whole in each; auto follows
    accelerate's configuration."""
    stall_timeout: Annotated[float, Field(ge=1.0, le=1e6)] = 900.0
    """Seconds without a forward or a judge's answer after which a process counts as stalled and the group ends."""


class LogSection(Section):
    """Logs of a run, beside metrics.jsonl."""

    tensorboard: bool = True
    trackers: tuple[Literal["trackio", "wandb"], ...] = ()
    """Further trackers, through accelerate; none of them can stop or slow a run."""
    project: Text = "hpedit"
    """The project's name in trackers; the run has the name of its folder."""
    grid_every: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """Iterations between two grids of source | before | after; 0 for none."""
    groups_every: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Iterations between two whole records of all groups (edits, scores, answers, advantages); 0 for none."""
    groups_keep: Count = 20
    """Such records kept: the first and the newest."""


class EvaluateSection(Section):
    """Evaluates held-out cases during training, with the averaged weights, which are exported.

    Evaluation never affects the weights, except that held-out cases are not trained on and a run may stop early.
    """

    every: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Iterations between two evaluations; 0 for none. There is one after the last iteration, too."""
    cases: Text | None = None
    """Held-out cases: parquet or a folder. None holds out a share of the training cases, by source photograph."""
    share: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    """Of the training cases that are held out where no others are given."""
    count: Count = 64
    """Held-out cases that are evaluated, at most."""
    steps: Annotated[int, Field(ge=2, le=1000)] | None = None
    """ODE steps of their edits; None takes rollout.steps."""
    second_judge: Text | None = None
    """Folder of another fitted HP-Scorer, which gives no reward: it does not share the scorer's blind spots."""
    oracle: Literal["auto", "off"] = "auto"
    """auto: the oracle scores too, where all held-out cases have exact targets."""
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Early stopping after so many evaluations without a new best, by the second judge or else the scorer; 0: never."""
    export: Literal["last", "best"] = "last"
    """Which averaged weights become lora/; with last, the best are in lora_best/."""


class Recipe(Section):
    """All of one training run. Paths are relative to the folder in which the command runs."""

    COMMAND: ClassVar[str] = TRAIN

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of all randomness: the same recipe gives the same weights on the same machine."""
    output: Text
    """The run's folder."""
    cases: Text
    """Training cases: a parquet file, or a folder that `hpedit cases build` wrote."""
    scorer: Text
    """The reward: a fitted HP-Scorer's folder, a function of your own by its dotted path, or an HTTP service."""
    scorer_force: bool = False
    """Train even with a scorer that failed `hpedit scorer probe`."""
    rewards: tuple[RewardSection, ...] = ()
    """Further rewards beside `scorer`."""
    editor: EditorSection = EditorSection()
    lora: LoraSection = LoraSection()
    rollout: RolloutSection = RolloutSection()
    train: TrainSection = TrainSection()
    nft: NFTSection = NFTSection()
    dpo: DPOSection = DPOSection()
    checkpoint: CheckpointSection = CheckpointSection()
    scale: ScaleSection = ScaleSection()
    log: LogSection = LogSection()
    evaluate: EvaluateSection = EvaluateSection()

    @field_validator("rewards")
    @classmethod
    def _names_differ(cls, rewards: tuple[RewardSection, ...]) -> tuple[RewardSection, ...]:
        names = ["scorer", *(reward.name for reward in rewards)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]} is there twice; scorer is the main one's")
        taken = sorted({"second", "oracle"} & set(names))
        if taken:
            raise ValueError(f"the name {taken[0]} is taken: held-out evaluation reports under it")
        return rewards

    @field_validator("train")
    @classmethod
    def _algorithm_fits(cls, train: TrainSection, info: ValidationInfo) -> TrainSection:
        rollout: RolloutSection | None = info.data.get("rollout")
        if rollout is None:
            return train
        if train.algorithm == "grpo_guard" and rollout.dynamics != "flow_sde":
            raise ValueError(f"grpo_guard is defined for rollout.dynamics flow_sde, not {rollout.dynamics}")
        if train.algorithm in ("nft", "online_dpo", "expert_iteration") and rollout.shared_noise:
            raise ValueError(
                f"{train.algorithm} samples by ODE: with rollout.shared_noise all edits of a group would be the same"
            )
        return train

    @field_validator("scale")
    @classmethod
    def _can_be_sharded(cls, scale: ScaleSection, info: ValidationInfo) -> ScaleSection:
        editor: EditorSection | None = info.data.get("editor")
        if scale.shard == "fsdp2" and editor is not None and editor.unshardable:
            raise ValueError(f"shard: fsdp2 does not go with editor.{editor.unshardable}")
        return scale

    @field_validator("editor")
    @classmethod
    def _can_be_trained(cls, editor: EditorSection) -> EditorSection:
        if editor.offload != "none":
            raise ValueError("an offloaded base can edit, not train: set offload to none, or base to 8bit or 4bit")
        return editor

    @field_validator("dpo")
    @classmethod
    def _pairs_are_named(cls, dpo: DPOSection, info: ValidationInfo) -> DPOSection:
        train: TrainSection | None = info.data.get("train")
        if train is not None and train.algorithm == "offline_dpo" and dpo.pairs is None:
            raise ValueError("offline_dpo needs dpo.pairs, the file that `hpedit ratings pairs` wrote")
        return dpo

    @property
    def offline(self) -> bool:
        """Whether it learns from rated pairs, without a rollout."""
        return self.train.algorithm == "offline_dpo"

    def resolved(self) -> dict[str, Any]:
        """All settings, including defaults, as plain JSON."""
        return self.model_dump(mode="json")

    def shaping(self) -> dict[str, Any]:
        """The settings that shape the result: only a recipe with equal ones may resume a run's folder."""
        shaping = {key: value for key, value in self.resolved().items() if key not in RESUMABLE_KEYS}
        shaping["editor"] = self.editor.shaping()
        # Run folders keep the old names of keys, so that runs of older versions can be resumed.
        for old, new in RolloutSection.RENAMED.items():
            shaping["rollout"][old] = shaping["rollout"].pop(new)
        return shaping


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a training recipe; see `config.reading.read_recipe`."""
    return read_recipe(path, Recipe, overrides)
