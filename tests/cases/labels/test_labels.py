"""Labels: given ones, and those of CLIP and SigLIP held against transformers' own pipeline."""

import pytest
from tests.conftest import picture

from hpedit.cases.coco import COCO, indefinite, spoken
from hpedit.cases.labels.labeller import load_labeller
from hpedit.cases.labels.protocol import Label
from hpedit.cases.recipe import LabelsSection
from hpedit.errors import HPEditError

IMAGES = [picture(40, 48, seed) for seed in range(3)]
TOWER = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["."]


def save_clip(path):
    """A CLIP with random weights that spells."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for letter in LETTERS:
        vocab |= {letter: len(vocab), f"{letter}</w>": len(vocab) + 1}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = {**TOWER, **ids, "vocab_size": len(vocab), "max_position_embeddings": 77}
    vision = {**TOWER, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(path)
    model.save_pretrained(path)


def save_siglip(path):
    """A SigLIP with random weights that spells."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
        SiglipProcessor,
    )

    vocab = [(word, 0.0) for word in ("<pad>", "</s>", "<unk>", "▁", *LETTERS)]
    spelling = Tokenizer(models.Unigram(vocab, unk_id=2))
    spelling.pre_tokenizer = pre_tokenizers.Metaspace()
    spelling.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=spelling, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )
    text = {**TOWER, "vocab_size": len(vocab), "max_position_embeddings": 64, "projection_size": 32}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**TOWER, "image_size": 32, "patch_size": 8}))
    SiglipProcessor(SiglipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(path)
    model.save_pretrained(path)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def saved(request, tmp_path_factory):
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp(request.param)
    {"clip": save_clip, "siglip": save_siglip}[request.param](path)
    return request.param, str(path)


def test_zero_shot_agrees_with_the_pipeline_of_transformers(saved):
    from transformers import pipeline

    from hpedit.cases.labels.zero_shot import PROMPT
    from hpedit.progress import quiet_loading

    kind, path = saved
    labeller = load_labeller(LabelsSection(by="clip", model=path, min_probability=0.0))
    found = labeller.probabilities(IMAGES)
    names = [indefinite(spoken(name)) for name in COCO]
    with quiet_loading():
        judged = pipeline("zero-shot-image-classification", model=path)(
            IMAGES, candidate_labels=names, hypothesis_template=PROMPT
        )
    for row, wanted in zip(found, judged, strict=True):
        scores = {one["label"]: one["score"] for one in wanted}
        assert row.tolist() == pytest.approx([scores[name] for name in names], abs=1e-5)
        assert row.std() > 0
        assert (abs(row.sum() - 1) < 1e-4) == (kind == "clip")
    for row, label in zip(found, labeller.label(IMAGES), strict=True):
        assert label == Label(COCO[int(row.argmax())], pytest.approx(float(row.max())))


def test_below_the_least_probability_there_is_no_category(saved):
    _, path = saved
    unsure = load_labeller(LabelsSection(by="clip", model=path, min_probability=0.99))
    (label,) = unsure.label(IMAGES[:1])
    assert label.category == ""
    assert 0 < label.probability < 0.99
    assert unsure.label([]) == []
    others = load_labeller(LabelsSection(by="clip", model=path, categories=("ball", "cube"), min_probability=0.0))
    assert {label.category for label in others.label(IMAGES)} <= {"ball", "cube"}


def test_labels_do_not_depend_on_what_shares_a_batch(saved, monkeypatch):
    from hpedit.cases.labels import zero_shot

    labeller = load_labeller(LabelsSection(by="clip", model=saved[1], min_probability=0.0))
    whole = labeller.label(IMAGES)
    monkeypatch.setattr(zero_shot, "BATCH", 1)
    for one, other in zip(whole, labeller.label(IMAGES), strict=True):
        assert (one.category, one.probability) == (other.category, pytest.approx(other.probability, abs=1e-6))


def test_no_such_model(tmp_path):
    with pytest.raises(HPEditError, match="can't be loaded"):
        load_labeller(LabelsSection(by="clip", model=str(tmp_path)))


def test_given_labels():
    given = [("dog", "car"), (), ("", "tree")]
    labeller = load_labeller(LabelsSection(by="given"))
    assert labeller.label(IMAGES, given) == [Label("dog", 1.0), Label("", 0.0), Label("tree", 1.0)]
    some = load_labeller(LabelsSection(by="given", categories=("car",)))
    assert [label.category for label in some.label(IMAGES, given)] == ["car", "", ""]
    none = load_labeller(LabelsSection())
    assert [label.category for label in none.label(IMAGES, given)] == ["", "", ""]
