"""A judge in process: a vision-language model through transformers.

    judge = TransformersJudge.load("mini")          # or a folder or hub id of a Qwen2.5-VL or Qwen3-VL
    answers = judge.ask(questions)

Questions about one edit share the computation of their common prefix (see `shared_prefix`); different edits share a
forward pass.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpedit.editors.fingerprint import folder_fingerprint
from hpedit.errors import HPEditError
from hpedit.judges.constrained import Grammars, write_batch
from hpedit.judges.limits import UnscorableLimit
from hpedit.judges.picture_encoding import picture_digest
from hpedit.judges.protocol import IMAGE, MIN_MASS, Answer, Question, answer_from_masses
from hpedit.judges.shared_prefix import QuestionGroup, can_share, encode_group, forward_groups
from hpedit.judges.token_variants import VERSION, plain_words, token_variants
from hpedit.judges.writing import Reply, WritingPrompt
from hpedit.progress import quiet_loading

BATCH = 48
"""Most questions in one forward pass."""
MAX_TOKENS = 32_768
"""About the most tokens in one forward pass, a shared prefix counted once per question, as in the KV cache. A question
with two images of one megapixel has some 2,300 in Qwen3-VL."""
DTYPES = ("auto", "float32", "bfloat16", "float16")
HINT = "give 'mini', a folder, or the hub id of a Qwen2.5-VL or Qwen3-VL"


class TransformersJudge:
    """A Qwen2.5-VL, Qwen3-VL or another image-text-to-text model in process.

    Args:
        model: The model with its head.
        processor: Its processor, with a chat template.
        fingerprint: Identifies the weights.
        share: Compute shared prefixes once, if the model is one of `shared_prefix.MODEL_TYPES`.
        batch: Most questions in one forward pass.
        limit: Stops a run with too many unscorable answers.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        fingerprint: str,
        *,
        share: bool = True,
        batch: int = BATCH,
        limit: UnscorableLimit | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.processor.tokenizer.padding_side = "left"
        self.share = share and can_share(model)
        self.batch = batch
        self.limit = limit
        self._weights = fingerprint
        self._tokens: dict[tuple[str, ...], list[list[int]]] = {}
        self._grammars: Grammars | None = None

    @classmethod
    def load(
        cls,
        model: str = "mini",
        revision: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        limit: UnscorableLimit | None = None,
    ) -> TransformersJudge:
        """Load a judge from a folder, a hub id, or "mini" (inside the package).

        Args:
            model: Which.
            revision: Of a hub model; pin it.
            dtype: One of DTYPES. "auto" is bfloat16 on an accelerator, float32 on the CPU and for the mini judge.
            device: A device of torch, or "auto": the accelerator, else the CPU.
            limit: Stops a run with too many unscorable answers.

        Raises:
            HPEditError: no such model, or it takes no images.
        """
        from transformers import AutoModelForImageTextToText

        from hpedit.store.shipped import judge_path

        if dtype not in DTYPES:
            raise HPEditError(f"unknown dtype {dtype!r}", hint=f"give one of {', '.join(DTYPES)}")
        place = str(judge_path()) if model == "mini" else model
        local = Path(place).is_dir()
        asked = {"revision": revision or "main", "local_files_only": local}
        device = _device(device)
        if dtype == "auto":
            dtype = "float32" if device == "cpu" or model == "mini" else "bfloat16"
        try:
            with quiet_loading():
                network = AutoModelForImageTextToText.from_pretrained(
                    place, dtype=getattr(torch, dtype), device_map={"": device}, **asked
                )
                processor = _load_processor(place, asked)
        except (OSError, ValueError, KeyError) as error:
            raise HPEditError(f"the judge {model!r} can't be loaded: {error}", hint=HINT) from error
        commit = getattr(network.config, "_commit_hash", None) or revision or "main"
        name = folder_fingerprint(Path(place)) if local else f"{model}@{commit}"
        return cls(network, processor, name, limit=limit)

    @property
    def fingerprint(self) -> str:
        """Identifies weights, image preprocessing, answer tokens, and how the answer is read."""
        # The classes with and without torchvision resize an image slightly differently.
        pictures = type(self.processor.image_processor).__name__
        text = f"{self._weights}|{self.model.dtype}|{pictures}|expectation|{MIN_MASS}|{VERSION}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer per question, in order; batched.

        Raises:
            HPEditError: a prompt's pictures don't fit its places, the judge has no token for a choice, or too many
                answers are unscorable.
        """
        answers: dict[int, Answer] = {}
        tokens = [self._choice_tokens(question.choices) for question in questions]
        for indices, logits in self._forwards(questions):
            for index, row in zip(indices, logits.softmax(-1).cpu(), strict=True):
                masses = [float(row[ids].sum()) for ids in tokens[index]]
                answers[index] = answer_from_masses(masses, questions[index].choices)
            if self.limit:
                self.limit.count(answers[index] for index in indices)
        return [answers[index] for index in range(len(questions))]

    def top(self, questions: Sequence[Question], count: int) -> list[list[tuple[str, float]]]:
        """For each question the `count` likeliest next tokens as (text, natural log of the probability), best first."""
        found: dict[int, list[tuple[str, float]]] = {}
        for indices, logits in self._forwards(questions):
            best = logits.log_softmax(-1).topk(min(count, logits.shape[-1]))
            for index, ids, values in zip(indices, best.indices.tolist(), best.values.tolist(), strict=True):
                texts = self.processor.tokenizer.batch_decode([[id_] for id_ in ids])
                found[index] = list(zip(texts, values, strict=True))
        return [found[index] for index in range(len(questions))]

    def write(self, prompts: Sequence[WritingPrompt]) -> list[Reply]:
        """One reply per prompt, in order: JSON of the prompt's schema, or the reason why there is none.

        Raises:
            HPEditError: an unsupported schema or tokenizer.
        """
        self._grammars = self._grammars or Grammars(self.processor.tokenizer)
        questions = [prompt.question for prompt in prompts]
        replies: dict[int, Reply] = {}
        for chunk in self._chunks(range(len(prompts)), questions, [prompt.max_tokens for prompt in prompts]):
            texts = [self._prompt(questions[index]) for index in chunk]
            written = write_batch(self, texts, [prompts[index] for index in chunk], self._grammars)
            replies |= dict(zip(chunk, written, strict=True))
        return [replies[index] for index in range(len(prompts))]

    def _forwards(self, questions: Sequence[Question]) -> Iterator[tuple[list[int], Tensor]]:
        """Run all questions batch by batch; yields their indices and float32 logits (batch, vocabulary)."""
        prompts = [self._prompt(question) for question in questions]
        alone: list[int] = []
        shared: list[tuple[list[int], QuestionGroup]] = []
        for indices in _same_stem(questions) if self.share else [[index] for index in range(len(questions))]:
            group = None
            if len(indices) > 1:
                group = encode_group(
                    self.processor, [prompts[index] for index in indices], questions[indices[0]].images
                )
            if group is None:
                alone += indices
                continue
            if shared and self._full(shared, indices, group):
                yield self._run_shared(shared)
                shared = []
            shared.append((indices, group))
        if shared:
            yield self._run_shared(shared)
        for chunk in self._chunks(alone, questions):
            yield chunk, self._run_alone([prompts[i] for i in chunk], [questions[i] for i in chunk])

    def _full(self, shared: list[tuple[list[int], QuestionGroup]], indices: list[int], group: QuestionGroup) -> bool:
        rows = len(indices) + sum(len(members) for members, _ in shared)
        longest = max(len(group.prefix), *(len(other.prefix) for _, other in shared))
        return rows > self.batch or rows * longest > MAX_TOKENS

    def _chunks(
        self, indices: Sequence[int], questions: Sequence[Question], answers: Sequence[int] = ()
    ) -> Iterator[list[int]]:
        """Split into batches that fit one forward pass; `answers`: new tokens of each."""
        chunk: list[int] = []
        longest = 0
        for index in indices:
            length = self._length(questions[index]) + (answers[index] if answers else 0)
            longest = max(longest, length)
            if chunk and (len(chunk) == self.batch or (len(chunk) + 1) * longest > MAX_TOKENS):
                yield chunk
                chunk, longest = [], length
            chunk.append(index)
        if chunk:
            yield chunk

    def _length(self, question: Question) -> int:
        """Approximate tokens of a question, known before its images are preprocessed."""
        letters = sum(len(part) for part in question.stem) + len(question.tail)
        side = getattr(self.processor.image_processor, "patch_size", 14) * getattr(
            self.processor.image_processor, "merge_size", 2
        )
        most = (getattr(self.processor.image_processor, "size", None) or {}).get("longest_edge") or math.inf
        return letters // 4 + sum(int(min(i.width * i.height, most)) // side**2 for i in question.images)

    @torch.inference_mode()
    def _run_shared(self, shared: list[tuple[list[int], QuestionGroup]]) -> tuple[list[int], Tensor]:
        logits = forward_groups(self.model, [group for _, group in shared])
        return [index for indices, _ in shared for index in indices], logits.float()

    @torch.inference_mode()
    def _run_alone(self, prompts: list[str], questions: Sequence[Question]) -> Tensor:
        images = [image for question in questions for image in question.images]
        inputs = self.processor(text=prompts, images=images or None, padding=True, return_tensors="pt")
        logits = self.model(**inputs.to(self.model.device), logits_to_keep=1).logits
        return torch.as_tensor(logits[:, -1].float())

    def _choice_tokens(self, choices: tuple[str, ...]) -> list[list[int]]:
        """The token ids that count towards each choice."""
        if choices not in self._tokens:
            found = [_single_tokens(self.processor.tokenizer, choice) for choice in choices]
            flat = [id_ for ids in found for id_ in ids]
            if len(set(flat)) < len(flat):
                raise HPEditError(f"the judge writes two of the choices {', '.join(choices)} with one token")
            self._tokens[choices] = found
        return self._tokens[choices]

    def _prompt(self, question: Question) -> str:
        """The question in the chat template, up to where its answer begins."""
        if sum(part == IMAGE for part in question.stem) != len(question.images):
            raise HPEditError("a prompt must have as many picture places as pictures")
        words = [plain_words(part) for part in (*question.stem, question.tail)]
        content = [{"type": "image"} if part == IMAGE else {"type": "text", "text": part} for part in words]
        messages = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _same_stem(questions: Sequence[Question]) -> list[list[int]]:
    """Group indices of questions that share stem and images, in order of appearance."""
    digests: dict[int, str] = {}
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, question in enumerate(questions):
        for image in question.images:
            if id(image) not in digests:
                digests[id(image)] = picture_digest(image)
        key = (question.stem, *(digests[id(image)] for image in question.images))
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _device(device: str) -> str:
    if device != "auto":
        return device
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found else "cpu"


def _load_processor(place: str, asked: dict[str, Any]) -> Any:
    """Load a model's processor; if its class needs torchvision for videos, one for images and text only.

    See docs/decisions/002: PaddleOCRVLProcessor expands image placeholders like Qwen's classes.
    """
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, PaddleOCRVLProcessor

    try:
        return AutoProcessor.from_pretrained(place, **asked)
    except (ImportError, ValueError) as error:
        if "torchvision" not in str(error):
            raise
        tokenizer = AutoTokenizer.from_pretrained(place, extra_special_tokens={"image_token": "<|image_pad|>"}, **asked)
        pictures = AutoImageProcessor.from_pretrained(place, **asked)
        return PaddleOCRVLProcessor(pictures, tokenizer, chat_template=tokenizer.chat_template)


def _single_tokens(tokenizer: Any, choice: str) -> list[int]:
    """Ids of the variants of a choice that are single tokens; HPEditError if none is."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in token_variants(choice)]
    found = {int(row[0]) for row in rows if len(row) == 1 and row[0] != tokenizer.unk_token_id}
    if not found:
        raise HPEditError(
            f"the judge's tokenizer splits the answer {choice!r} into several tokens, in every spelling",
            hint="take another judge, or choices that are single tokens of this one",
        )
    return sorted(found)
