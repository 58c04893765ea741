"""The tokenizer of the mini models: Qwen's byte-level BPE, trained on the words of the mini world.

The pipeline drops the first 64 tokens of the prompt, the length of its template in Qwen's vocabulary. Qwen's has one
token for each word of that template, and so has this one, which is trained until every word of its corpus is a single
token.
"""

from __future__ import annotations

import itertools
import json

from diffusers import QwenImageEditPlusPipeline
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from hpedit.judges.protocol import DIGITS, IMAGE, YES_NO
from hpedit.mini.drawing import BACKDROPS, COLORS, LIGHTS, SHAPES, SLOTS, STYLES
from hpedit.mini.scenes import WORDS
from hpedit.scorer.prompts import DEGREE, EDIT_ALONE, LIBRARY, SCORE, YES_OR_NO, rubric, stem
from hpedit.tasks import TASK_IDS

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen2.5-VL's own marks, in its order."""

TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new "
    "image that meets the user's requirements while maintaining consistency with the original input where "
    "appropriate.<|im_end|>\n<|im_start|>user\n"
    "Picture 1: <|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
"""QwenImageEditPlusPipeline's prompt for one picture; `check_template` compares it with the pipeline's own."""
TEMPLATE_TOKENS = 64
"""Tokens before "Picture 1", which the pipeline cuts off."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen's chat format without a default system message."""


def instructions() -> list[str]:
    """Every wording of every task with words filled in, enough to hold each word of the mini world."""
    things = [f"{c} {s}" for c, s in itertools.product(COLORS, SHAPES)]
    names = {"background": BACKDROPS, "relighting": LIGHTS, "style": STYLES}
    found = []
    for task, wordings in WORDS.items():
        for wording, thing, place, color, name in itertools.product(
            wordings, things[::7] + things[-3:], SLOTS, list(COLORS)[:2], names.get(task, ("",))
        ):
            found.append(wording.format(new=thing, old=thing, place=place, color=color, name=name))
    found += [f"make the {thing} {color}" for thing in things for color in COLORS]
    return sorted(set(found))


def _corpus() -> list[str]:
    """All texts that the mini models ever see, without special tokens: each word in them becomes one token."""
    judge = [rubric(task) for task in TASK_IDS]
    judge += ["".join(stem(task, "") + EDIT_ALONE).replace(IMAGE, "") for task in TASK_IDS]
    judge += [SCORE, *(form.format(q.text) for task in TASK_IDS for q in LIBRARY[task] for form in (YES_OR_NO, DEGREE))]
    plain = TEMPLATE
    for token in SPECIAL_TOKENS:
        plain = plain.replace(token, "\n")
    asked = [start + text for text in instructions() for start in ("", "Instruction: ")]
    return [
        plain,
        *judge,
        *asked,
        " 0 1 2 3 4 5 6 7 8 9",
        *DIGITS,
        *YES_NO,
        "user\n",
        "assistant\n",
        "system\n",
        "Picture 2: Picture 3: ",
    ]


def build_tokenizer() -> Qwen2Tokenizer:
    """Train the tokenizer. Deterministic; raises ValueError if the template did not become exactly 64 tokens."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=8192, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(_corpus(), trainer)
    state = json.loads(trained.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["merges"]]
    vocab = dict(state["vocab"])
    for token in SPECIAL_TOKENS:
        vocab[token] = len(vocab)
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=merges, unk_token="<|endoftext|>", extra_special_tokens={"image_token": "<|image_pad|>"}
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.chat_template = CHAT_TEMPLATE
    prefix = TEMPLATE.partition("Picture 1")[0]
    count = len(tokenizer(prefix)["input_ids"])
    if count != TEMPLATE_TOKENS:
        raise ValueError(f"the pipeline's template has {count} tokens, not {TEMPLATE_TOKENS}")
    return tokenizer


def check_template(pipeline: QwenImageEditPlusPipeline) -> None:
    """Raise ValueError when this file's copy of the template is no longer the pipeline's own."""
    ours = TEMPLATE.replace("Picture 1: <|vision_start|><|image_pad|><|vision_end|>", "")
    if pipeline.prompt_template_encode != ours or pipeline.prompt_template_encode_start_idx != TEMPLATE_TOKENS:
        raise ValueError("diffusers changed the prompt template of QwenImageEditPlusPipeline: rebuild the tokenizer")
