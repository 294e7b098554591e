"""Lists of labels in other forms: tables with or without a header, one-hot columns, names, COCO's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lpm.console.errors import InvalidInput
from tests.training.own import pets
from training.data import datasets
from training.data.found import number_of_classes
from training.data.lists import files, labelled, load

IMAGES = [(f"train/{name}/{i:02d}.jpg", name) for name in ("cat", "dog", "emu") for i in range(3)]
NUMBER = {"cat": 0, "dog": 1, "emu": 2}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pets(tmp_path / "data")


def read(root: Path, name: str, text: str, *, classes: int = 3) -> dict[str, str]:
    """The class of each training image of a list; another list is for testing."""
    (root / name).write_text(text)
    test = root / "test.txt"
    test.write_text("test/cat/00.jpg cat\ntest/dog/00.jpg dog\ntest/emu/00.jpg emu\n")
    train, _, names = load("own", root, classes=classes, train_list=root / name, test_list=test)
    return {path: str(names[label]) for path, label in zip(train.paths, train.labels, strict=True)}


def rows(row: str, images: list[tuple[str, str]] = IMAGES) -> str:
    return "".join(
        row.format(path=path, stem=path[:-4], name=name, number=NUMBER[name], root="") + "\n" for path, name in images
    )


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("a.csv", "id,label\n", "{path},{name}"),
        ("a.csv", "label,Image,width\n", "{name},{path},9"),
        ("a.csv", "", "{path},{name}"),
        ("a.csv", "", "{name},{path}"),
        ("a.csv", "\ufefffile_name;label\n", "{path};{name}"),
        ("a.tsv", "path\tclass\n", "{stem}\t{name}"),
        ("a.csv", "id,label\n", '"{path}","{name}"\n'),
        ("a.csv", "id,breed\n", "{stem},{name}"),
        ("a.csv", "species;image_id\n", "{name};{stem}"),
        ("a.csv", "id_code,diagnosis\n", "{stem},{name}"),
        ("a.csv", "path\tlabel\n", "{path}\t{name}"),
        ("a.csv", "path|label\n", "{path}|{name}"),
        ("a.jsonl", "", '{{"file_name": "{path}", "label": "{name}"}}'),
        ("a.txt", "", "{path} {name}"),
        (
            "a.csv",
            "lesion_id,image_id,dx,dx_type,age,sex,localization\n",
            "HAM_1,{stem},{name},histo,80.0,male,scalp",
        ),
        ("a.csv", ",path,label\n", "7,{path},{name}"),  # pandas' index
    ],
)
def test_names_of_classes_stand_in_lists_of_every_form(root: Path, name: str, header: str, row: str) -> None:
    assert read(root, name, header + rows(row)) == dict(IMAGES)
    assert number_of_classes(root, root / name) == 3
    (root / "classes.txt").write_text("emu\ncat\ndog\n")
    assert read(root, name, header + rows(row)) == dict(IMAGES)


@pytest.mark.parametrize(
    ("name", "row"), [("a.csv", "{path},{number}"), ("a.jsonl", '{{"image": "{path}", "y": {number}}}')]
)
def test_numbers_are_those_of_classes_txt(root: Path, name: str, row: str) -> None:
    (root / "classes.txt").write_text("cat\ndog\nemu\n")
    assert read(root, name, rows(row)) == dict(IMAGES)


def test_one_column_per_class_holds_a_single_1(root: Path) -> None:
    for path, name in IMAGES:  # unlike names, so that folders and endings may be left off
        (root / path).rename(root / "train" / f"{name}{path[-6:]}")
    text = "image,dog,emu,cat\n" + "".join(
        f"{name}{path[-6:-4]}," + ",".join(f"{float(name == column)}" for column in ("dog", "emu", "cat")) + "\n"
        for path, name in IMAGES
    )
    found = read(root, "a.csv", text)
    assert {name for path, name in found.items() if path.startswith("train/dog0")} == {"dog"}
    assert len(found) == 9
    for wrong, message in (
        (text.replace("1.0", "0.0", 1), "line 2: 0 of its classes are 1; it needs exactly one"),
        (text.replace("0.0", "1.0", 1), "line 2: 2 of its classes are 1"),
        (text.replace("1.0", "0.7", 1), "line 2: '0.7' is neither 0 nor 1"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read(root, "a.csv", wrong)


@pytest.mark.parametrize("words", [("True", "False"), ("true", "false"), ("1", "0")])
def test_one_column_per_class_may_hold_truth_values_beside_columns_of_text(root: Path, words: tuple[str, str]) -> None:
    one, zero = words
    text = "image,patient,cat,dog,emu\n" + "".join(
        f"{path},p{name}," + ",".join(one if name == column else zero for column in ("cat", "dog", "emu")) + "\n"
        for path, name in IMAGES
    )
    assert read(root, "a.csv", text) == dict(IMAGES)


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("a.csv", "path,label\n", "{path},{number}.0"),
        ("a.csv", "", "{path},{number}.00"),
        ("a.jsonl", "", '{{"path": "{path}", "label": {number}.0}}'),
    ],
)
def test_whole_numbers_may_have_a_point(root: Path, name: str, header: str, row: str) -> None:
    (root / "classes.txt").write_text("cat\ndog\nemu\n")
    assert read(root, name, header + rows(row)) == dict(IMAGES)


def test_lines_may_end_as_on_an_old_mac(root: Path) -> None:
    assert read(root, "a.csv", ("path,label\n" + rows("{path},{name}")).replace("\n", "\r")) == dict(IMAGES)


def coco(path: str, ids: dict[str, int], categories: dict[str, int]) -> str:
    """The images in COCO's form, each path as ``path`` has it."""
    return json.dumps(
        {
            "images": [{"id": i, "file_name": path.format(file, file[6:])} for i, (file, _) in enumerate(IMAGES)],
            "annotations": [{"image_id": i, "category_id": ids[name]} for i, (_, name) in enumerate(IMAGES)],
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
        }
    )


def test_categories_without_an_image_are_no_classes(root: Path) -> None:
    ids = {"cat": 17, "dog": 18, "emu": 90}
    text = coco("{0}", ids, {"background": 0, **ids, "zebra": 24})
    assert read(root, "a.json", text) == dict(IMAGES)
    assert number_of_classes(root, root / "a.json") == 3
    (root / "classes.txt").write_text("emu\ncat\ndog\n")
    assert read(root, "a.json", text) == dict(IMAGES)


def test_coco_may_leave_off_the_folder_of_its_images(root: Path) -> None:
    for part in ("train", "test"):  # one folder per part, as COCO has it
        for file in sorted((root / part).rglob("*.jpg")):
            file.rename(root / part / f"{part}-{file.parent.name}-{file.name}")
    ids = {"cat": 1, "dog": 2, "emu": 3}
    content = json.loads(coco("{1}", ids, ids))
    for image in content["images"]:
        image["file_name"] = "train-" + image["file_name"].replace("/", "-")
    (root / "a.json").write_text(json.dumps(content))
    found = labelled(root, root / "a.json")
    assert [path for path, _ in found.images] == [f"train/train-{path[6:].replace('/', '-')}" for path, _ in IMAGES]


@pytest.mark.parametrize(("name", "row"), [("a.csv", "{path},{name}"), ("a.txt", "{path} {name}")])
def test_paths_may_be_written_as_on_windows(name: str, row: str, root: Path) -> None:
    assert read(root, name, rows(row).replace("/", "\\")) == dict(IMAGES)


def test_absolute_paths_inside_the_root_are_read(root: Path) -> None:
    assert read(root, "a.txt", rows("{path} {name}").replace("train/", f"{root}/train/")) == dict(IMAGES)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "id,label\n00,cat\n1,dog\n2,emu\n",
            "line 2: '00' is '.*/00.jpg' or '.*/00.jpg'; name the folder, too",
        ),
        ("a.csv", "id,label\ntrain/cat/00,cat,9\n", "line 2: it has 3 cells, and the first line 2"),
        ("a.csv", "id\ntrain/cat/00\n", "has no column for labels"),
        ("a.csv", "1,2,3\n", "line 1: a table needs two columns, path and label, or a header"),
        ("a.jsonl", '{"file_name": "train/cat/00.jpg"}\n', r"line 1: it needs file_name \(str\) and label"),
        ("a.jsonl", "no json\n", "line 1: Expecting value"),
        ("a.csv", "path,label\n", "a.csv' lists no image"),
        ("a.csv", "id,label\ntrain/cat/00.jpg,\x00\n", "a.csv"),
        ("a.csv", "id,label\n" + rows("{path},{number}") + "x,-1\n", "line 11: label '-1' is no class; leave out rows"),
        ("a.txt", "train/cat/00.jpg,cat\n", "is not a path, a space and a label; call a list with commas .csv"),
        ("a.txt", "train/cat/00.jpg 1.5\n", "label '1.5' is not a whole number from 0"),
        ("a.csv", "id,label\n" + rows("{path},{name}") + "x,yak\n", "has 4 names"),
    ],
)
def test_a_wrong_table_is_one_line(root: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        read(root, name, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ids", [[0, 1, 2], [1, 2, 3], [16, 17, 88], ["a", "b", "c"]])
@pytest.mark.parametrize("as_text", [False, True])
def test_cocos_categories_name_the_classes(root: Path, ids: list[int | str], as_text: bool) -> None:
    key = str if as_text else int
    images = [{"id": key(i), "file_name": path} for i, (path, _) in enumerate(IMAGES)]
    annotations = [{"image_id": key(i), "category_id": ids[NUMBER[name]]} for i, (_, name) in enumerate(IMAGES)]
    categories = [{"id": ids[number], "name": name} for name, number in NUMBER.items()]
    content = {"images": images, "annotations": annotations + annotations[:2], "categories": categories}
    assert read(root, "a.json", json.dumps(content)) == dict(IMAGES)
    assert number_of_classes(root, root / "a.json") == 3
    annotations.append({"image_id": key(0), "category_id": ids[1]})
    content["annotations"] = annotations
    with pytest.raises(InvalidInput, match=r"annotations\[9\]: its image has a label already"):
        read(root, "a.json", json.dumps(content))
    content["categories"] = categories[:2]
    with pytest.raises(InvalidInput, match="categories lack its category_id"):
        read(root, "a.json", json.dumps(content))


def test_the_files_of_a_table_are_checked(root: Path) -> None:
    (root / "a.csv").write_text("id,label\n" + rows("{stem},{name}") + "none,cat\n")
    (root / "b.csv").write_text("id,label\n")
    found = files("own", root, train_list=root / "a.csv", test_list=root / "b.csv")
    assert found.paths == [path for path, _ in IMAGES]
    assert (found.problems, list(found.unusable)) == ([], ["none"])


def test_a_run_on_a_json_list_goes_on_though_its_classes_have_names_now(tmp_path: Path) -> None:
    """0.1.0 knew the classes of such a list by their numbers, and stored runs are tied to a hash of those."""
    for part in ("train", "test"):
        entries = []
        for label, number in ((0, 1), (1, 3), (2, 2)):
            for i in range(number):
                file = tmp_path / part / str(label) / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (label, i, 9)).save(file)
                entries.append((f"{part}/{label}/{i}.png", label))
        content: dict[str, Any] = {
            "images": [{"id": i, "file_name": path} for i, (path, _) in enumerate(entries)],
            "annotations": [{"image_id": i, "category_id": label} for i, (_, label) in enumerate(entries)],
        }
        (tmp_path / f"{part}.json").write_text(json.dumps(content))
    unnamed = datasets.load("own", tmp_path, classes=3)
    for file in tmp_path.glob("*.json"):
        categories = [{"id": label, "name": name} for label, name in enumerate(("moss", "fern", "alga"))]
        file.write_text(json.dumps({**json.loads(file.read_text()), "categories": categories}))
    named = datasets.load("own", tmp_path, classes=3)
    assert named.class_names == ("fern", "alga", "moss")
    assert named.fingerprint == unnamed.fingerprint


def test_numbers_beside_names_are_names(root: Path) -> None:
    said = ["1", "1b", "2"] * 3  # 1 is no place in the sorted names
    table = [f"{path},{label}\n" for (path, _), label in zip(IMAGES, said, strict=True)]
    (root / "a.csv").write_text("id,label\n" + "".join(table))
    found = labelled(root, root / "a.csv")
    assert [found.names[label] for _, label in found.images] == said
    (root / "b.csv").write_text("test/cat/00.jpg,1\ntest/dog/00.jpg,1b\ntest/emu/00.jpg,2\n")
    train, _, names = load("own", root, classes=3, train_list=root / "a.csv", test_list=root / "b.csv")
    assert [names[label] for label in train.labels] == said


def test_a_negative_number_is_no_class(root: Path) -> None:
    (root / "a.jsonl").write_text(
        "".join(json.dumps({"path": p, "label": i - 1}) + "\n" for i, (p, _) in enumerate(IMAGES))
    )
    (problem,) = labelled(root, root / "a.jsonl").problems
    assert problem.endswith("line 1: label '-1' is none of the 9 classes")


@pytest.mark.parametrize(
    "text",
    [
        "Photo,Kind\n" + rows("{path},{name}"),
        "Kind,Photo\n" + rows("{name},{path}"),
        "Photo,Kind\n" + rows("{stem},{name}"),  # endings left off: the files that are there tell
        "photo_file,split,label\n" + rows("{path},train,{name}"),
        "number,photo_file,label\n" + rows("7,{path},{name}"),
        "path,Kind\n" + rows("{path},{name}"),
        "\n\npath,label\n\n" + rows("{path},{name}"),
        "label,cat,photo_file\n" + rows("{name},0,{path}"),
        "photo_file,cat,dog,emu\n"
        + "".join(f"{path},{','.join(str(int(name == k)) for k in NUMBER)}\n" for path, name in IMAGES),
    ],
)
def test_a_header_with_other_names_is_a_header(text: str, root: Path) -> None:
    assert read(root, "a.csv", text) == dict(IMAGES)
    assert number_of_classes(root, root / "a.csv") == 3


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("train/cat/00,cat", rows("{path},{name}", IMAGES[1:])),  # without its ending
        ("train/cat/00.jpg,label", rows("{path},{name}", IMAGES[1:])),  # a class of this name
        ("train/cat/00,y", rows("{stem},{name}", IMAGES[1:])),
    ],
)
def test_the_first_row_of_a_table_without_a_header_is_an_image(first: str, rest: str, root: Path) -> None:
    classes = len({first.split(",")[1], "cat", "dog", "emu"})
    (root / "test.csv").write_text("path,label\ntest/cat/00.jpg,cat\n")
    (root / "a.csv").write_text(f"{first}\n{rest}")
    train, _, _ = load("own", root, classes=classes, train_list=root / "a.csv", test_list=root / "test.csv")
    assert train.paths == tuple(path for path, _ in IMAGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Photo,Kind\nx,cat\ny,dog\n", "line 1: 'Photo': No such file or directory; if the line is a header, name its"),
        ("a,b,label\n1,2,cat\n", "has no column for paths that is known; name one of its columns 'path'"),
        (
            "path,a,b\n" + rows("{path},{name},x"),
            "has no column for labels; name one of its columns 'label', or have one",
        ),
    ],
)
def test_a_header_that_is_not_understood_says_which_names_are(text: str, message: str, root: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(root, "a.csv", text, classes=len({line.split(",")[1] for line in text.splitlines()}))
