"""Every picture counts once: links, second names, hidden files, and names of any bytes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpod_search.data.listing import Lister
from dpod_search.errors import DataError


def write_pictures(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.full((4, 4), 7, np.uint8)).save(folder / name)


def make_pets(folder: Path) -> Path:
    write_pictures(folder / "cat", "a.png", "b.png")
    write_pictures(folder / "dog", "a.png", "b.png")
    return folder


def test_lists_class_by_class_and_folder_by_folder(tmp_path: Path) -> None:
    make_pets(tmp_path)
    write_pictures(tmp_path / "cat" / "young" / "x", "c.JPG")
    write_pictures(tmp_path / "cat" / "young", "d.Tiff", "._d.png")
    write_pictures(tmp_path / "cat" / ".thumbnails", "a.png")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "cat" / "folder.png").mkdir()
    (tmp_path / "loose.txt").write_text("beside the classes")
    listing = Lister().list_classes(tmp_path)

    assert listing.classes == ("cat", "dog")
    names = [Path(path).relative_to(tmp_path).as_posix() for path in listing.paths]
    assert names == [
        "cat/a.png",
        "cat/b.png",
        "cat/young/d.Tiff",
        "cat/young/x/c.JPG",
        "dog/a.png",
        "dog/b.png",
    ]  # fmt: skip  (one line)
    assert listing.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert listing.sizes == tuple(Path(path).stat().st_size for path in listing.paths)


@pytest.mark.parametrize("target", [".", "..", "../..", "../../.."])
def test_a_link_that_leads_back_up_is_passed_over(tmp_path: Path, target: str) -> None:
    make_pets(tmp_path)
    write_pictures(tmp_path / "cat" / "young", "c.png")
    before = Lister().list_classes(tmp_path).paths
    (tmp_path / "cat" / "young" / "loop").symlink_to(target)

    assert Lister().list_classes(tmp_path).paths == before


def test_links_in_a_ring_through_elsewhere_end(tmp_path: Path) -> None:
    make_pets(tmp_path / "pets")
    write_pictures(tmp_path / "more", "c.png")
    (tmp_path / "pets" / "cat" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "back").symlink_to(tmp_path / "pets" / "cat")
    listing = Lister().list_classes(tmp_path / "pets")

    assert len(listing.paths) == 5
    assert listing.paths[2] == str(tmp_path / "pets" / "cat" / "more" / "c.png")


def test_classes_and_pictures_may_be_links_to_elsewhere(tmp_path: Path) -> None:
    make_pets(tmp_path / "all")
    few = tmp_path / "few"
    (few / "dog").mkdir(parents=True)
    (few / "cat").symlink_to(tmp_path / "all" / "cat")
    (few / "dog" / "x.png").symlink_to(tmp_path / "all" / "dog" / "a.png")
    listing = Lister().list_classes(few)

    assert [Path(path).name for path in listing.paths] == ["a.png", "b.png", "x.png"]


def test_one_file_under_two_names_is_refused_with_both(tmp_path: Path) -> None:
    links = {
        "a link": lambda new, old: new.symlink_to(old),
        "a hard link": lambda new, old: new.hardlink_to(old),
    }
    for kind, link in links.items():
        pets = make_pets(tmp_path / kind)
        link(pets / "dog" / "same.png", pets / "cat" / "a.png")
        with pytest.raises(
            DataError, match=r"cat/a\.png and .*dog/same\.png are one and the same"
        ):
            Lister().list_classes(pets)


def test_one_folder_in_two_places_is_refused_with_both(tmp_path: Path) -> None:
    make_pets(tmp_path)
    (tmp_path / "dog" / "more").symlink_to(tmp_path / "cat")

    with pytest.raises(DataError, match=r"/cat and .*/dog/more are one and the same"):
        Lister().list_classes(tmp_path)


def test_parts_of_one_lister_share_no_picture(tmp_path: Path) -> None:
    make_pets(tmp_path / "train")
    (tmp_path / "test").symlink_to("train")
    lister = Lister()
    lister.list_classes(tmp_path / "train")

    with pytest.raises(DataError, match=r"train/cat and .*test/cat are one and the same"):
        lister.list_classes(tmp_path / "test")


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    makers = {
        "nowhere.png": lambda path: path.symlink_to("gone.png"),
        "itself.png": lambda path: path.symlink_to("itself.png"),
        "empty.png": lambda path: path.touch(),
        "pipe.png": os.mkfifo,  # to open it would wait for ever
    }
    for name, make in makers.items():
        pets = make_pets(tmp_path / name)
        make(pets / "cat" / name)
        with pytest.raises(DataError, match=rf"cat/{name} .*remove it"):
            Lister().list_classes(pets)


def test_a_class_without_pictures_is_named(tmp_path: Path) -> None:
    make_pets(tmp_path)
    (tmp_path / "cow" / "deep").mkdir(parents=True)
    (tmp_path / "cow" / "cow.gif").write_text("not read")
    (tmp_path / "cow" / ".hidden.png").write_text("not read")

    with pytest.raises(DataError, match=r"there are none in \['cow'\]; add some \(\.jpg"):
        Lister().list_classes(tmp_path)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone cannot be read: No such file"):
        Lister().list_classes(tmp_path / "gone")


@pytest.mark.parametrize("where", ["cow", "cat/more"])
def test_a_folder_behind_a_dead_link_is_no_class_less(tmp_path: Path, where: str) -> None:
    make_pets(tmp_path)
    (tmp_path / where).symlink_to(tmp_path / "not mounted")

    with pytest.raises(DataError, match=rf"{where} cannot be read: No such file"):
        Lister().list_classes(tmp_path)


def test_names_of_any_bytes_are_shown_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    make_pets(tmp_path)
    write_pictures(tmp_path / name, os.fsdecode(b"\xff.png"))
    listing = Lister().list_classes(tmp_path)
    assert listing.classes == (name, "cat", "dog")

    (tmp_path / "cat" / "same.png").symlink_to(listing.paths[0])
    with pytest.raises(DataError, match=r"caf\\xe9.*one and the same") as caught:
        Lister().list_classes(tmp_path)
    str(caught.value).encode()  # raises if there is half a character in it
