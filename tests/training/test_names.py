"""Names and links on the disk: either Unicode form, bytes that are no text, and links, with advice that works."""

from __future__ import annotations

import os
import re
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.large import encoded
from tests.training.own import pets
from training import check, predict, split
from training.data.finder import Finder
from training.data.lists import load
from training.data.untrusted import quoted

NFC, NFD = (unicodedata.normalize(form, "Café/Zürich é") for form in ("NFC", "NFD"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


@pytest.mark.parametrize(("on_disk", "in_list"), [(NFC, NFD), (NFD, NFC)])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "bare.csv"])
def test_a_list_finds_images_in_either_form(on_disk: str, in_list: str, name: str, root: Path) -> None:
    image, listed = f"{on_disk}.jpg", f"{in_list}.jpg"
    (root / image).parent.mkdir()
    (root / image).write_bytes(encoded(11)[10])
    if name == "bare.csv":
        listed = in_list.split("/")[1]
    separator = " " if name == "a.txt" else ","
    rows = [(listed, "emu"), ("train/cat/00.jpg", "cat"), ("train/dog/00.jpg", "dog")]
    (root / name).write_text("".join(f"{path}{separator}{label}\n" for path, label in rows))
    (root / "b.txt").write_text("test/cat/00.jpg cat\n")
    train, _, _ = load("own", root, classes=3, train_list=root / name, test_list=root / "b.txt")
    assert train.paths[0] == image


def test_each_part_of_a_path_may_have_its_own_form_and_two_that_fit_are_refused(tmp_path: Path) -> None:
    folder, file = NFC.split("/")[0], NFD.split("/")[1]
    (tmp_path / folder).mkdir()
    (tmp_path / folder / file).touch()
    find = Finder(tmp_path, table=False).find
    assert find(NFC) == find(NFD) == f"{folder}/{file}"
    mixed = unicodedata.normalize("NFC", file[:7]) + file[7:]
    (tmp_path / folder / mixed).touch()
    with pytest.raises(ValueError, match=r"is 'Zu\\u0308rich.*' or 'Z\\xfcrich.*'|is 'Z\\xfcrich.*' or 'Zu\\u0308rich"):
        Finder(tmp_path, table=False).find(NFC)
    assert Finder(tmp_path, table=False).find(f"{folder}/{mixed}") == f"{folder}/{mixed}"  # spelled as on the disk


def test_class_folders_and_names_of_either_form_are_one_class(root: Path) -> None:
    (root / "train/emu").rename(root / "train/ému")
    (root / "test/emu").rename(root / "test" / unicodedata.normalize("NFD", "ému"))
    _, test, names = load("own", root, classes=3)
    assert names.tolist() == ["dog", "ému", "cat"]
    assert (test.labels == 1).sum() == 2
    rows = ["train/cat/00.jpg e\u0301", "train/dog/00.jpg \u00e9", "train/dog/01.jpg dog"]
    (root / "a.txt").write_text("".join(f"{row}\n" for row in rows))
    (root / "b.txt").write_text("test/cat/00.jpg \u00e9\ntest/dog/00.jpg dog\n")
    train, _, _ = load("own", root, classes=2, train_list=root / "a.txt", test_list=root / "b.txt")
    assert train.labels.tolist() == [0, 0, 1]
    (root / "train" / unicodedata.normalize("NFD", "ému")).mkdir()
    with pytest.raises(
        InvalidInput, match=r"two class folders that look the same, 'e\\u0301mu' and '\\xe9mu'; rename or"
    ):
        load("own", root, classes=4)


def bash(word: str) -> bytes:
    """What bash makes of a word."""
    return subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"a\nb.jpg", b"it's \x1b\\.jpg", b"\xc3\xa9.jpg", b"plain.jpg"])
def test_a_name_is_quoted_so_that_bash_finds_the_file(name: bytes) -> None:
    assert bash(quoted(os.fsdecode(name))) == name
    assert quoted(os.fsdecode(name)).isprintable()


def test_names_that_are_not_utf_8_are_named_and_can_be_mended(root: Path, capsys: Any) -> None:
    file = bytes(root / "train/cat") + b"/caf\xe9.jpg"
    Path(os.fsdecode(file)).write_bytes(encoded(11)[10])
    with pytest.raises(InvalidInput, match=r"\$'train/cat/caf\\xe9\.jpg' has a name that is not UTF-8") as error:
        load("own", root, classes=3)
    found = re.search(r"\$'.*?'", str(error.value))
    assert found
    assert (root / os.fsdecode(bash(found[0]))).exists()
    for command in (lambda: split.main([str(root / "train")]), lambda: predict.main([str(root / "test"), str(root)])):
        assert run_command(command) == 2
        assert capsys.readouterr().err.isascii()
    assert run_command(lambda: split.main([str(root / "train")])) == 2
    assert r"train/cat/caf\xe9.jpg': give it a name of printable text" in capsys.readouterr().err
    subprocess.run(["bash", "-c", f"mv {found[0]} train/cat/cafe.jpg"], cwd=root, check=True)
    assert len(load("own", root, classes=3)[0]) == 47


def test_a_class_folder_that_is_not_utf_8_is_named(root: Path) -> None:
    Path(os.fsdecode(bytes(root / "train") + b"/caf\xe9")).mkdir()
    with pytest.raises(InvalidInput, match=r"train/caf\\xe9': the name of a class must be printable text"):
        load("own", root, classes=4)


def advised(message: str, folder: Path) -> Path:
    """Do what a message advises."""
    found = re.search(r"`(cp -rL .* COPY)`", message)
    assert found, message
    subprocess.run(["bash", "-c", found[1]], cwd=folder, check=True)
    return folder / "COPY"


@pytest.mark.parametrize("linked", ["train", "train/emu", "train/emu/00.jpg"])
def test_the_advice_on_links_out_of_the_root_works(linked: str, root: Path, tmp_path: Path) -> None:
    (root / linked).rename(tmp_path / "elsewhere")
    (root / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match=r"is a link that leaves --data-root|behind a link that leaves") as error:
        load("own", root, classes=3)
    copy = advised(str(error.value), tmp_path)
    assert [len(part) for part in load("own", copy, classes=3)[:2]] == [46, 7]


@pytest.mark.parametrize("command", [split.main, lambda words: check.main([*words, "--quiet", "--workers", "0"])])
def test_the_advice_on_linked_folders_works(command: Any, root: Path, tmp_path: Path, capsys: Any) -> None:
    folder = (root / "train").rename(tmp_path / "my images")
    (folder / "emu").rename(tmp_path / "elsewhere")
    (folder / "emu").symlink_to("../elsewhere")
    assert run_command(lambda: command([str(folder)])) == 2
    error = capsys.readouterr().err
    assert "emu' is a link to a folder, which is not followed" in error
    assert run_command(lambda: command([str(advised(error, tmp_path))])) == 0


def test_the_advice_on_folders_elsewhere_works(root: Path, tmp_path: Path) -> None:
    (root / "train").rename(tmp_path / "elsewhere")
    given = {"train_list": tmp_path / "elsewhere", "test_list": root / "test"}
    with pytest.raises(
        InvalidInput, match="lies outside --data-root; give one that holds all images, such as"
    ) as error:
        load("own", root, classes=3, **given)
    (common,) = re.findall("such as '(.*)', and", str(error.value))
    assert len(load("own", Path(common), classes=3, **given)[0]) == 46
