"""Every adapter computes what its pipeline's own __call__ computes, alone and in batches."""

import numpy as np
import pytest
import torch
from tests.editors.families import EDIT, FAMILIES, KONTEXT, PLUS, UNDISTILLED, pipeline_edit, pixel_difference

from hpedit.config.recipe import RolloutSection
from hpedit.editors.load import wrap_pipeline
from hpedit.editors.protocol import Conditioning
from hpedit.editors.sampling import edit_cases, group_by_size
from hpedit.editors.sizes import ImageAreas
from hpedit.errors import HPEditError
from hpedit.rl.rollout import RolloutSeed, collect, replay, row_chunks

WORDS = "Replace the sky with a red one."
SHAPES = {
    "square": ((32, 32),),
    "wide": ((150, 60),),
    "tall": ((44, 72),),
    "two sources": ((32, 32), (64, 25)),
    "three sources": ((25, 64), (32, 32), (100, 40)),
}


@pytest.fixture(scope="module")
def tiny():
    """Family and guidance -> its editor; nobody changes them."""
    made = {}

    def editor(family, cfg=1.0):
        if (family.name, cfg) not in made:
            pipeline = next((e.pipeline for (name, _), e in made.items() if name == family.name), None)
            made[family.name, cfg] = (
                wrap_pipeline(pipeline, family.areas, fingerprint=family.name, cfg=cfg)
                if pipeline
                else family.editor(cfg=cfg)
            )
        return made[family.name, cfg]

    return editor


@pytest.mark.parametrize("cfg", [1.0, 4.0], ids=["unguided", "cfg"])
@pytest.mark.parametrize(
    ("family", "shape"),
    [
        pytest.param(family, shape, id=f"{family.name}, {name}")
        for family in (*FAMILIES, UNDISTILLED)
        for name, shape in SHAPES.items()
        if len(shape) <= family.most_sources
    ],
)
def test_noise_0_rollout_is_the_pipelines_own_output(tiny, make_case, family, shape, cfg):
    editor = tiny(family, cfg)
    case = make_case(sizes=shape, instruction=WORDS)
    ours = edit_cases(editor, [case], [7], 3)[0]
    assert pixel_difference(ours, pipeline_edit(editor, case, 7, 3)) == 0
    assert len(np.unique(np.asarray(ours))) > 10, "a flat picture would prove nothing"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_edit_depends_on_source_and_words_so_that_equality_means_something(tiny, make_case, family):
    def edit(case):
        return edit_cases(tiny(family), [case], [7], 2)[0]

    first = edit(make_case())
    assert pixel_difference(first, edit(make_case(seed=1))) > 20
    assert pixel_difference(first, edit(make_case(instruction="add a hat"))) > 20


@pytest.mark.parametrize(
    ("family", "areas"),
    [
        (PLUS, ImageAreas(64, 56 * 56, 32 * 32)),
        (PLUS, ImageAreas(32, 32 * 32, 64 * 64)),
        (EDIT, ImageAreas(64, 32 * 32, 32 * 32)),
        (KONTEXT, ImageAreas(64, 0, 32 * 32)),
        (KONTEXT, ImageAreas(32, 0, 64 * 64)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_holds_with_other_seeds_and_areas(tiny, make_case, family, areas):
    editor = wrap_pipeline(tiny(family).pipeline, areas, fingerprint="other areas")
    case = make_case(sizes=((90, 60),))
    first, second = edit_cases(editor, [case, case], [1, 2], 2, batch_size=1)
    assert pixel_difference(first, pipeline_edit(editor, case, 1, 2)) == 0
    assert pixel_difference(second, pipeline_edit(editor, case, 2, 2)) == 0
    assert pixel_difference(first, second) > 0


def test_holds_for_2511_whose_sources_have_a_time_of_their_own(make_case):
    pipeline = PLUS.build()
    transformer = type(pipeline.transformer).from_config(pipeline.transformer.config, zero_cond_t=True)
    transformer.load_state_dict(pipeline.transformer.state_dict())
    pipeline.transformer = transformer
    editor = wrap_pipeline(pipeline, PLUS.areas, fingerprint="2511")
    case = make_case(sizes=((60, 40), (32, 32)), instruction=WORDS)
    ours = edit_cases(editor, [case], [7], 2)[0]
    assert pixel_difference(ours, pipeline_edit(editor, case, 7, 2)) == 0
    assert pixel_difference(ours, edit_cases(PLUS.editor(), [case], [7], 2)[0]) > 0


def test_kontext_is_told_its_guidance(tiny, make_case):
    usual = tiny(KONTEXT)
    strong = wrap_pipeline(usual.pipeline, KONTEXT.areas, fingerprint="kontext", guidance=6.0)
    assert (usual.adapter.embedded_guidance, strong.adapter.embedded_guidance) == (2.5, 6.0)
    assert tiny(UNDISTILLED).adapter.embedded_guidance is None
    ours = edit_cases(strong, [make_case()], [7], 2)[0]
    assert pixel_difference(ours, pipeline_edit(strong, make_case(), 7, 2)) == 0
    assert strong.fingerprint != usual.fingerprint


@pytest.mark.parametrize("cfg", [1.0, 4.0], ids=["unguided", "cfg"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_velocity_of_a_batch_equals_one_by_one(tiny, make_case, family, cfg):
    editor = tiny(family, cfg)
    cases = [make_case("a", "make it red"), make_case("b", "add a very large green hat to the left of it", seed=5)]
    batch = editor.encode(cases)
    noise = editor.initial_noise(batch, [1, 2])
    s = torch.tensor([0.9, 0.3])
    with torch.no_grad():
        together = editor.velocity(noise, s, batch)
        alone = [editor.velocity(noise[i : i + 1], s[i], editor.encode([cases[i]])) for i in (0, 1)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_several_aspect_ratios_in_one_call_equal_one_by_one(tiny, make_case, family):
    editor = tiny(family)
    cases = [
        make_case("a", "make it red"),
        make_case("b", "add a very large green hat to the left of it", seed=5),
        make_case("c", "remove it", sizes=((90, 40),)),
        make_case("d", "remove it, please", sizes=((40, 90),), seed=3),
        make_case("e", "remove it, please", sizes=((90, 40),), seed=4),
    ]
    assert group_by_size([editor.encode([case]) for case in cases]) == [[0, 1], [2, 4], [3]]
    seeds = [1, 2, 3, 4, 5]
    together = edit_cases(editor, cases, seeds, 2)
    alone = [edit_cases(editor, [case], [seed], 2)[0] for case, seed in zip(cases, seeds, strict=True)]
    assert all(pixel_difference(a, b) <= 1 for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("cfg", [1.0, 4.0], ids=["unguided", "cfg"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_T4_a_replay_with_the_same_chunk_repeats_every_bit(tiny, make_case, family, cfg):
    editor = tiny(family, cfg)
    settings = RolloutSection(steps=3, window=1, window_start=(0, 1), group_size=3)
    cases = [make_case("a"), make_case("b", "add a very large green hat", seed=5)]
    rollout = collect(editor, cases, settings, RolloutSeed(0, 0, (0, 1)), chunk=2)
    for batch in rollout.batches:
        for rows in row_chunks(torch.arange(len(batch.edits)), batch.chunk):
            with torch.no_grad():
                again = replay(editor, batch, settings, rows, torch.zeros_like(rows)).log_prob
            assert torch.equal(again, batch.log_prob[rows, 0])


@pytest.mark.parametrize("cfg", [1.0, 4.0], ids=["unguided", "cfg"])
def test_T4_holds_in_bfloat16(make_case, cfg):
    pipeline = KONTEXT.build().to(torch.bfloat16)
    editor = wrap_pipeline(pipeline, KONTEXT.areas, fingerprint="half", cfg=cfg)
    settings = RolloutSection(steps=3, window=1, window_start=(0, 1), group_size=3)
    (batch,) = collect(editor, [make_case()], settings, RolloutSeed(0, 0, (0,)), chunk=2).batches
    assert editor.dtype == torch.bfloat16
    assert batch.trajectory.dtype == torch.float32
    for rows in row_chunks(torch.arange(3), batch.chunk):
        with torch.no_grad():
            again = replay(editor, batch, settings, rows, torch.zeros_like(rows)).log_prob
        assert torch.equal(again, batch.log_prob[rows, 0])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_latents_of_a_picture_decode_to_it_as_the_vae_does(tiny, make_picture, family):
    editor = tiny(family)
    images = [make_picture(32, 32, seed) for seed in (0, 1)]
    latents = editor.latents(images)
    grid = (4, 4)
    assert latents.shape == (2, 16, editor.pipeline.transformer.config.in_channels)
    vae, processor = editor.pipeline.vae, editor.pipeline.image_processor
    with torch.no_grad():
        pixels = processor.preprocess(images, 32, 32)
        back = vae(pixels.unsqueeze(2) if family is not KONTEXT else pixels).sample
    expected = processor.postprocess(back[:, :, 0] if family is not KONTEXT else back, output_type="pil")
    decoded = editor.adapter.decode(latents, grid)
    assert all(pixel_difference(a, b) <= 1 for a, b in zip(decoded, expected, strict=True))


@pytest.mark.parametrize("family", [EDIT, KONTEXT], ids=lambda family: family.name)
def test_a_second_source_is_refused_where_the_pipeline_takes_one(tiny, make_case, family):
    with pytest.raises(HPEditError, match=r"2 source images, and .* takes one"):
        tiny(family).encode([make_case(sizes=((32, 32), (32, 32)))])


def test_without_guidance_no_negative_is_encoded_and_one_forward_made(tiny, make_case, monkeypatch):
    for family in FAMILIES:
        counts = []
        for cfg in (1.0, 4.0):
            editor = tiny(family, cfg)
            forwards = []
            original = editor.adapter.forward
            monkeypatch.setattr(
                editor.adapter, "forward", lambda *args, o=original, f=forwards: (f.append(1), o(*args))[1]
            )
            batch = editor.encode([make_case()])
            assert (batch.negative is None) == (cfg == 1.0)
            with torch.no_grad():
                editor.velocity(editor.initial_noise(batch, [0]), torch.tensor(0.5), batch)
            counts.append(len(forwards))
            monkeypatch.undo()
        assert counts == [1, 2]


def test_the_gradient_goes_through_both_forwards_of_guidance(make_case):
    class Settings:
        rank, alpha, targets = 2, 4.0, None

    editor = PLUS.editor(cfg=4.0)
    editor.add_lora(Settings, seed=0)
    batch = editor.encode([make_case()])
    x, s = editor.initial_noise(batch, [0]), torch.tensor(0.5)
    editor.velocity(x, s, batch).square().mean().backward()
    guided = next(p.grad.clone() for n, p in editor.lora_parameters().items() if "lora_B" in n)
    assert guided.abs().max() > 0


def test_conditionings_with_negatives_are_batched_selected_and_stored(tiny, make_case):
    editor = tiny(KONTEXT, 4.0)
    batch = editor.encode([make_case("a"), make_case("b", "add a hat", seed=3)])
    assert len(batch) == 2
    rows = batch.select([1, 1, 0])
    assert rows.negative.embeds.shape[0] == rows.prompt.pooled.shape[0] == len(rows) == 3
    assert torch.equal(rows.prompt.pooled[0], batch.prompt.pooled[1])
    stored = Conditioning.from_tensors(batch.to_tensors()).to("cpu").to_tensors()
    assert {name: t.shape for name, t in stored.items()} == {n: t.shape for n, t in batch.to_tensors().items()}
    assert all(torch.equal(tensor, batch.to_tensors()[name]) for name, tensor in stored.items())
