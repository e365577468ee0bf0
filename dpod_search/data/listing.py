"""Which pictures lie in a folder of classes: every file once, links followed once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from pathlib import PurePath

import numpy as np

from dpod_search.data.source import IntArray
from dpod_search.errors import DataError
from dpod_search.escaping import spell_name


# Those of torchvision's folders.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, eq=False)
class Listing:
    """The pictures of a folder that holds one subfolder a class.

    Args:
        root: The folder.
        classes: Names of the subfolders, as the file system has them, sorted.
        paths: The pictures, class by class; folder by folder in each, sorted.
        sizes: Bytes of each.
        labels: Class of each.
    """

    root: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: IntArray


@dataclass
class Lister:
    """Lists folders of pictures that belong together, so that no picture is in two places.

    Args:
        folders: The folders seen, by what they are behind all links.
        files: The pictures seen, by device and number: links to one file have the same.
    """

    folders: dict[str, str] = field(default_factory=dict)
    files: dict[tuple[int, int], str] = field(default_factory=dict)

    def list_classes(self, root: Path) -> Listing:
        """List a folder of classes.

        Args:
            root: Holds one subfolder a class; each may have subfolders, which do not matter. Names
                that begin with a dot are passed over, and so are files with other endings than
                ``ENDINGS``, large or small.

        Raises:
            DataError: If there are no classes, or hidden ones, or one without a picture; or if a
                picture or a folder is met twice, by a link or a second name; or cannot be read.
        """
        try:
            return self._list_classes(root)
        except OSError as error:
            name = spell_name(str(error.filename or root))
            raise DataError(
                f"{name} cannot be read: {error.strerror or error}; mend or remove it"
            ) from error

    def _list_classes(self, root: Path) -> Listing:
        with os.scandir(root) as entries:
            classes = sorted(entry.name for entry in entries if _is_folder(entry))
        shown = spell_name(str(root))
        if not classes:
            raise DataError(f"{shown} must hold one subfolder of pictures a class, and has none")
        hidden = [spell_name(name) for name in classes if name.startswith(".")]
        if hidden:
            # Left by an editor or a notebook; nobody sees it, and the model gets an output more.
            raise DataError(
                f"{shown} holds hidden folders, which would be classes: {hidden}; remove them"
            )
        found = [list(self._list_pictures(root / name, root)) for name in classes]
        empty = [spell_name(name) for name, files in zip(classes, found, strict=True) if not files]
        if empty:
            raise DataError(
                f"{shown} must hold one subfolder of pictures a class, and there are none in "
                f"{empty}; add some ({', '.join(ENDINGS)}) or remove the folder"
            )
        return Listing(
            root,
            tuple(classes),
            tuple(path for files in found for path, _ in files),
            tuple(size for files in found for _, size in files),
            np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in found]),
        )

    def _list_pictures(self, folder: Path, root: Path) -> Iterator[tuple[str, int]]:
        for _, paths in sorted(self._walk(folder, root)):
            for path in sorted(paths):
                yield path, self._note(path)

    def _walk(self, folder: Path, root: Path) -> Iterator[tuple[str, list[str]]]:
        """Yield a folder and those below it with their pictures; not where a link leads back up."""
        left: list[tuple[str, tuple[str, ...]]] = [(str(folder), (os.path.realpath(root),))]
        while left:
            place, above = left.pop()
            real = os.path.realpath(place)
            if any(PurePath(inside).is_relative_to(real) for inside in above):
                continue
            if real in self.folders:
                _refuse_twice(place, self.folders[real])
            self.folders[real] = place
            with os.scandir(place) as entries:
                shown = [entry for entry in entries if not entry.name.startswith(".")]
            folders = [entry.path for entry in shown if _is_folder(entry)]
            left += [(path, (*above, real)) for path in folders]
            pictures = {entry.path for entry in shown if entry.name.lower().endswith(ENDINGS)}
            yield place, list(pictures - set(folders))

    def _note(self, path: str) -> int:
        """Remember a picture; return its size in bytes."""
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
            raise DataError(f"{spell_name(path)} is empty or no file; remove it")
        key = (found.st_dev, found.st_ino)
        # Some file systems number nothing.
        if found.st_ino and key in self.files:
            _refuse_twice(path, self.files[key])
        self.files[key] = path
        return found.st_size


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link that leads nowhere may have led to pictures: it is told, as an `OSError`.
    return stat.S_ISDIR(entry.stat().st_mode) if entry.is_symlink() else entry.is_dir()


def _refuse_twice(path: str, earlier: str) -> None:
    raise DataError(
        f"{spell_name(earlier)} and {spell_name(path)} are one and the same, by a link: a picture "
        "must not be in two places, or it is trained and tested on; remove one"
    )
