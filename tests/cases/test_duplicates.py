"""Photographs that are there twice."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from functools import reduce
from operator import xor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from tests.shared_data import shared_data

from hpedit.cases.duplicates import NO_HASH, Duplicate, find_duplicates, image_fingerprints, perceptual_hash, pixel_sha
from hpedit.errors import HPEditError
from hpedit.mini.photos import embedded_tiles

NEAR = 6


def photo(number: int = 0) -> Image.Image:
    """A part of an embedded photograph, 256 pixels wide."""
    tile = embedded_tiles("pretrain")[number]
    return Image.fromarray((tile.pixels * 255).astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def bits(one: int, other: int) -> int:
    return (one ^ other).bit_count()


ALIKE = {
    "smaller": lambda image: image.resize((100, 90)),
    "larger": lambda image: image.resize((700, 700)),
    "compressed": lambda image: jpeg(image, 30),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "a pixel of the border": lambda image: image.crop((1, 1, 255, 255)),
}


@pytest.mark.parametrize("name", ALIKE)
def test_changed_copies_are_near_duplicates(name: str) -> None:
    for number in (0, 40, 90):
        one, other = image_fingerprints(photo(number)), image_fingerprints(ALIKE[name](photo(number)))
        assert one[0] != other[0]
        assert bits(one[1], other[1]) <= NEAR
        found = find_duplicates(["b", "a"], [one[0], other[0]], [one[1], other[1]], NEAR)
        assert found == [Duplicate("b", "a", "near", bits(one[1], other[1]))]


def test_the_hash_is_that_of_imagehash() -> None:
    imagehash = pytest.importorskip("imagehash")
    for number in range(0, 200, 4):
        image = photo(number)
        if hashed := perceptual_hash(image):
            assert f"{hashed:016x}" == str(imagehash.phash(image))


def test_other_photographs_are_not_alike() -> None:
    prints = [image_fingerprints(photo(number)) for number in range(0, 200, 5)]
    ids = [f"{number:03d}" for number in range(len(prints))]
    assert not find_duplicates(ids, [sha for sha, _ in prints], [hashed for _, hashed in prints], NEAR)


def structureless() -> list[Image.Image]:
    """Pictures of which a hash of signs could say nothing."""
    rows, columns = np.mgrid[0:128, 0:128]
    fields = [rows * 0, rows * 0 + 255, rows * 0 + 90, columns * 2, rows * 2, rows + columns, 200.0 * (columns > 60)]
    rng = np.random.default_rng(0)
    fields += [field + rng.normal(0, 0.5, field.shape) for field in fields]
    return [Image.fromarray(np.clip(field, 0, 255).astype(np.uint8)).convert("RGB") for field in fields]


def test_pictures_without_structure_are_not_each_others_duplicates() -> None:
    prints = [image_fingerprints(image) for image in structureless()]
    assert {hashed for _, hashed in prints} == {NO_HASH}
    ids = [f"{number:03d}" for number in range(len(prints))]
    assert not find_duplicates(ids, [sha for sha, _ in prints], [NO_HASH] * len(ids), 16)
    # Equal pixels are equal whatever they show.
    flat = pixel_sha(Image.new("RGB", (9, 9), "red"))
    assert find_duplicates(["a", "b"], [flat, flat], [NO_HASH, NO_HASH], NEAR) == [Duplicate("b", "a", "exact", 0)]


def test_photographs_have_structure() -> None:
    folder = shared_data("magicbrush/source")
    hashes = [perceptual_hash(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())[:60]]
    assert NO_HASH not in hashes


def test_equal_pixels_in_other_files() -> None:
    image = photo()
    turned = image.copy()
    turned.info["comment"] = "another file"
    assert pixel_sha(turned) == pixel_sha(image)
    assert pixel_sha(image.crop((0, 0, 255, 256))) != pixel_sha(image)
    wide, high = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4))
    assert pixel_sha(wide) != pixel_sha(high)


def test_a_copy_of_a_dropped_photograph_is_dropped_for_what_is_kept() -> None:
    found = find_duplicates(["a", "b", "c"], ["1", "2", "2"], [0b1111, 0b0111, 0b0111], 1)
    assert found == [Duplicate("b", "a", "near", 1), Duplicate("c", "a", "near", 1)]


def test_likeness_is_not_handed_on() -> None:
    chain = [(1 << number) - 1 for number in range(8, 20, 2)]
    ids = [f"{number}" for number in range(len(chain))]
    found = find_duplicates(ids, ids, chain, 4)
    assert [(duplicate.dropped, duplicate.kept) for duplicate in found] == [
        ("1", "0"),
        ("2", "0"),
        ("4", "3"),
        ("5", "3"),
    ]


def test_two_photographs_of_one_id_are_refused() -> None:
    with pytest.raises(HPEditError, match="two photographs have the id a"):
        find_duplicates(["a", "b", "a"], ["1", "2", "3"], [1, 2, 3], NEAR)
    assert find_duplicates([], [], [], NEAR) == []


def by_the_book(ids: list[str], shas: list[str], hashes: list[int], near: int) -> list[Duplicate]:
    """What `find_duplicates` says of itself, pair by pair."""
    kept: list[int] = []
    found = []
    for index in sorted(range(len(ids)), key=lambda index: ids[index]):
        equal = [other for other in range(len(ids)) if shas[other] == shas[index] and ids[other] < ids[index]]
        first = min(equal, key=lambda other: ids[other], default=index)
        like = [
            other
            for other in kept
            if near and hashes[first] and hashes[other] and bits(hashes[first], hashes[other]) <= near
        ]
        if first in kept:
            found.append(Duplicate(ids[index], ids[first], "exact", 0))
        elif like:
            found.append(Duplicate(ids[index], ids[like[0]], "near", bits(hashes[first], hashes[like[0]])))
        else:
            kept.append(index)
    return found


small = st.lists(st.tuples(st.sampled_from("uvwxyz"), st.integers(0, 255)), max_size=24)


@given(small, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(rows: list[tuple[str, int]], near: int, rng: random.Random) -> None:
    # One sha is one picture and has one hash.
    hashes = {sha: hashed for sha, hashed in rows}
    photos = [(f"{number:02d}", f"{sha}", hashes[sha]) for number, (sha, _) in enumerate(rows)]
    ids, shas, values = ([photo[place] for photo in photos] for place in range(3))
    expected = by_the_book(ids, shas, values, near)
    assert find_duplicates(ids, shas, values, near) == expected
    rng.shuffle(photos)
    ids, shas, values = ([photo[place] for photo in photos] for place in range(3))
    assert find_duplicates(ids, shas, values, near) == expected


@pytest.mark.parametrize("near", [1, 6, 16])
def test_near_duplicates_are_as_defined_pair_by_pair(near: int) -> None:
    rng = np.random.default_rng(near)
    middles = rng.integers(1, 2**63, 30, dtype=np.uint64)
    flips = (np.uint64(1) << rng.integers(0, 64, (300, 8), dtype=np.uint64)).tolist()
    hashes = [reduce(xor, flip[: n % 9], int(middles[n % 30])) for n, flip in enumerate(flips)]
    ids = [f"{number:03d}" for number in range(300)]
    expected = by_the_book(ids, ids, hashes, near)
    assert expected
    assert find_duplicates(ids, ids, hashes, near) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["all different", "a hundred scenes"])
def test_a_hundred_thousand_photographs(kind: str) -> None:
    count = 100_000
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**63, count, dtype=np.uint64)
    if kind != "all different":
        one, two = (np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64) for _ in range(2))
        hashes = hashes[:100][np.arange(count) % 100] ^ one ^ two
    ids, shas = [f"0/{number:06d}.jpg" for number in range(count)], [f"{number:064x}" for number in range(count)]
    values = hashes.tolist()
    tracemalloc.start()
    began = time.process_time()
    found = find_duplicates(ids, shas, values, NEAR)
    seconds = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 60
    assert peak < 300e6
    assert len(found) == (0 if kind == "all different" else count - 100)
