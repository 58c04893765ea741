"""Names of files that strangers wrote."""

from pathlib import Path

import pytest

from hpedit.errors import HPEditError
from hpedit.store.paths import inside, why_outside

OUTSIDE = [
    "../secret.png",
    "a/../../secret.png",
    "/etc/passwd",
    "C:\\secret.png",
    "c:secret.png",
    "\\\\server\\share\\secret.png",
    "..\\secret.png",
    "a\0.png",
    "file:///etc/passwd",
    "http://127.0.0.1/a.png",
    "data:image/png;base64,AAAA",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    assert why_outside(name)
    with pytest.raises(HPEditError, match=r"table.csv:3: "):
        inside(tmp_path, name, "table.csv:3")


def test_links_and_roots_that_begin_alike(tmp_path: Path) -> None:
    root, evil = tmp_path / "root", tmp_path / "root-evil"
    root.mkdir()
    evil.mkdir()
    (evil / "a.png").write_bytes(b"secret")
    (root / "a.png").write_bytes(b"fine")
    (root / "within.png").symlink_to(root / "a.png")
    (root / "out.png").symlink_to(evil / "a.png")
    (root / "folder").symlink_to(evil)
    assert inside(root, "a.png") == root / "a.png"
    assert inside(root, "within.png").read_bytes() == b"fine"
    for name in ("out.png", "folder/a.png"):
        with pytest.raises(HPEditError, match="link out of its folder"):
            inside(root, name)
    with pytest.raises(HPEditError, match=r"^b\.png is not a file$"):
        inside(root, "b.png")
