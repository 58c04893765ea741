"""WebDataset shards."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.cases.sources.opening import encoded, fingerprint, photos, picture, put, read, skipped

from hpedit.cases.recipe import SourceSection
from hpedit.cases.sources import open_source
from hpedit.errors import HPEditError

Members = list[tuple[str, bytes]]


def shard(path: Path, members: Members, mode: str = "w", format: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=format) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(*numbers: int) -> Members:
    return [(f"{number:04d}.png", encoded(number)) for number in numbers]


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_every_sample_comes_once(tmp_path: Path, ending: str) -> None:
    kind = {"tgz": "gz"}.get(ending, ending.rpartition(".")[2])
    mode = "w" if kind == "tar" else f"w:{kind}"
    shard(tmp_path / f"0.{ending}", samples(0, 1, 2, 3, 4), mode)
    shard(tmp_path / f"1.{ending}", samples(5, 6), mode)
    for size in (1, 3, 64):
        found = photos(read(tmp_path, webdataset=".", size=size))
        assert list(found) == [f"0/{n > 4:d}.{ending}/{n:04d}" for n in range(7)]
        assert [photo.image.tobytes() for photo in found.values()] == [picture(n).tobytes() for n in range(7)]
    assert len(photos(read(tmp_path, webdataset=f"*.{ending}", count=6))) == 6
    assert len(photos(read(tmp_path, webdataset=f"1.{ending}"))) == 2


class Counting(io.BytesIO):
    """A file that knows how much of it was read."""

    bytes_read = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_a_compressed_shard_is_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shard(tmp_path / "a.tar.gz", samples(*range(200)), "w:gz")
    source = open_source(SourceSection(webdataset="a.tar.gz"), 0, tmp_path)
    chunks = list(source.chunks(20))
    files: list[Counting] = []

    def counted(path: Path, mode: str) -> gzip.GzipFile:
        files.append(Counting(path.read_bytes()))
        return gzip.GzipFile(fileobj=files[-1], mode=mode)

    monkeypatch.setattr(gzip, "open", counted)
    other = open_source(SourceSection(webdataset="a.tar.gz"), 0, tmp_path)
    found = [item for chunk in chunks for item in other.read(chunk)]
    assert [item.id for item in found] == [f"0/a.tar.gz/{n:04d}" for n in range(200)]
    (file,) = files
    assert file.bytes_read <= path.stat().st_size


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_need_headers_of_their_own(tmp_path: Path, format: int) -> None:
    names = ["x" * 150 + "/" + "y" * 120, "ä" * 70 + " 照片", "plain"]
    shard(tmp_path / "a.tar", [(f"{name}.png", encoded(n)) for n, name in enumerate(names)], format=format)
    found = photos(read(tmp_path, webdataset="a.tar", size=1))
    assert list(found) == [f"0/a.tar/{name}" for name in names]
    assert [photo.image.tobytes() for photo in found.values()] == [picture(n).tobytes() for n in range(3)]


def test_what_a_sample_says_of_its_picture(tmp_path: Path) -> None:
    said = {"license": "CC0", "url": "https://example.org", "prompt": "remove the cup", "source_id": "p1"}
    members = [
        ("a/1.JPG", encoded(1, "JPEG")),
        ("a/1.json", json.dumps(said).encode()),
        ("a/1.cls", b"dog\n"),
        ("a/1.txt", b"a cup"),
        ("a/2.png", encoded(2)),
        ("a/2.cls", b"7"),
        ("a/3.png", encoded(3)),
        ("a/3.json", b"{"),
    ]
    shard(tmp_path / "a.tar", members)
    items = read(tmp_path, webdataset="a.tar", licence="CC BY 4.0", origin="LSDIR")
    one, two = photos(items).values()
    assert (one.licence, one.origin, one.labels, one.source_id) == ("CC0", "https://example.org", ("dog",), "p1")
    assert [candidate.task for candidate in one.candidates] == ["removal"]
    assert (two.licence, two.origin, two.labels) == ("CC BY 4.0", "LSDIR/a.tar/a/2.png", ())
    assert "not valid JSON" in skipped(items)["0/a.tar/a/3"]


def test_samples_without_a_clear_picture_are_named(tmp_path: Path) -> None:
    members = [
        ("cut.png", encoded(0)[:-30]),
        ("two.input.png", encoded(1)),
        ("two.edited.png", encoded(2)),
        ("none.json", b"{}"),
        ("README", b"hello"),
        ("._good.png", b"finder's own"),
        ("good.png", encoded(3)),
        ("lies.png", encoded(4, "JPEG")),
        ("again.png", encoded(5)),
        ("good.png", encoded(6)),
    ]
    shard(tmp_path / "a.tar", members)
    items = read(tmp_path, webdataset="a.tar")
    assert list(photos(items)) == ["0/a.tar/good", "0/a.tar/again"]
    assert photos(items)["0/a.tar/good"].image.tobytes() == picture(3).tobytes()
    reasons = skipped(items)
    said = {
        "cut": "damaged",
        "two": "several pictures: input.png, edited.png",
        "none": "no picture",
        "README": "no picture",
        "lies": "named like PNG",
    }
    for key, words in said.items():
        assert words in reasons.pop(f"0/a.tar/{key}")
    assert [reason for reason in reasons.values()] == ["good is in a.tar twice"]
    named = photos(read(tmp_path, webdataset="a.tar", image_column="input"))
    assert named["0/a.tar/two"].image.tobytes() == picture(1).tobytes()


def test_members_that_lead_out_and_links(tmp_path: Path) -> None:
    put(tmp_path / "secret.png", 9)
    path = tmp_path / "a.tar"
    outside = ["../secret", str(tmp_path / "secret"), "x/../../secret", "c:\\secret", "root-evil/../../secret"]
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(outside):
            member = tarfile.TarInfo(f"{name}.png")
            member.size = len(encoded(number))
            tar.addfile(member, io.BytesIO(encoded(number)))
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("pipe", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(f"{name}.png")
            member.type, member.linkname = kind, str(tmp_path / "secret.png")
            tar.addfile(member)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        member = tarfile.TarInfo("folder/good.png")
        member.size = len(encoded(1))
        tar.addfile(member, io.BytesIO(encoded(1)))
    before = sorted(tmp_path.iterdir())
    items = read(tmp_path, webdataset="a.tar", size=1)
    assert list(photos(items)) == ["0/a.tar/folder/good"]
    reasons = list(skipped(items).values())
    assert len(reasons) == len(outside) + 3
    assert all("leads out" in reason for reason in reasons[: len(outside)])
    assert all("link or a device" in reason for reason in reasons[len(outside) :])
    assert sorted(tmp_path.iterdir()) == before


def test_a_shard_that_breaks_off_gives_what_it_has(tmp_path: Path) -> None:
    whole = shard(tmp_path / "a.tar", samples(0, 1, 2)).read_bytes()
    lengths = [0, 10, 600, len(whole) // 2, 1536 * 2 + 700]
    for length in lengths:
        (tmp_path / "a.tar").write_bytes(whole[:length])
        items = read(tmp_path, webdataset="a.tar")
        assert len(photos(items)) < 3
        assert skipped(items), length
    shard(tmp_path / "b.tar.gz", samples(0, 1, 2), "w:gz")
    content = (tmp_path / "b.tar.gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(content[: len(content) // 2])
    items = read(tmp_path, webdataset="b.tar.gz")
    assert photos(items)
    assert "damaged after its first" in skipped(items)["0/b.tar.gz"]
    (tmp_path / "c.tar").write_bytes(b"<html>no tar</html>" * 100)
    assert "damaged" in skipped(read(tmp_path, webdataset="c.tar"))["0/c.tar"]


def test_a_member_that_claims_to_be_huge(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", samples(0))
    member = tarfile.TarInfo("huge.png")
    member.size = 1 << 40
    content = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(content[: 512 + 1536] + member.tobuf() + bytes(512))
    items = read(tmp_path, webdataset="a.tar")
    assert list(photos(items)) == ["0/a.tar/0000"]
    assert "damaged" in skipped(items)["0/a.tar"]


def test_no_shard_is_one_clear_error_and_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    with pytest.raises(HPEditError, match="holds no tar shard"):
        read(tmp_path, webdataset="*.tar")
    shard(tmp_path / "a.tar", samples(0))
    before = fingerprint(tmp_path, webdataset="*.tar")
    shard(tmp_path / "a.tar", samples(1))
    assert fingerprint(tmp_path, webdataset="*.tar") != before


@pytest.mark.slow
def test_what_webdataset_writes_is_read_as_webdataset_reads_it(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"{number:04d}", "png": picture(number), "json": {"license": f"L{number}"}})
    theirs = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode("pil"))
    ours = list(photos(read(tmp_path, webdataset="a.tar")).values())
    assert [photo.id for photo in ours] == [f"0/a.tar/{row['__key__']}" for row in theirs]
    assert [photo.licence for photo in ours] == [row["json"]["license"] for row in theirs]
    assert [photo.image.tobytes() for photo in ours] == [row["png"].convert("RGB").tobytes() for row in theirs]
