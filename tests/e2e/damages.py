"""What may happen to a file of a run folder: cut, changed, of another shape, led elsewhere."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpod_search.records.markers import FILES


SECRET = "nothing of a run's"  # what lies outside of the run folder, and must stay there
DEEP = 100_000

BYTES = ("truncate", "zero", "flip", "digit", "delete", "swap")
LINKS = ("link", "link to a folder", "link to nothing", "link to itself")
SHAPES = ("a list", "an object", "text", "another type", "too deep", "a path outside")


def list_damages(name: str) -> tuple[str, ...]:
    """Return what may happen to a file; to a folder, whose name ends in a slash, fewer things."""
    if name.endswith("/"):
        return LINKS
    shapes = SHAPES if name.endswith(".json") else ()
    # A file that its marker no longer knows is taken as it is, if it is of the right shape.
    unmarked = tuple(f"{shape}, unmarked" for shape in shapes if name in FILES)
    return (*BYTES, *LINKS, *shapes, *unmarked)


def damage(run: Path, name: str, how: str, other: Path) -> bool:
    """Damage a file or a folder of a run; say whether it is another one now.

    Args:
        run: The run folder, beside which a folder ``outside`` lies.
        name: The file.
        how: The damage.
        other: The folder of another run.
    """
    how, _, mark = how.partition(", ")
    if mark:
        (run / ".stages" / f"{FILES[name]}.json").unlink(missing_ok=True)
    file = run / name
    if how in LINKS:
        lead_elsewhere(file, how, run.parent / "outside")
        return True
    if how == "delete":
        file.unlink()
        return True
    data = file.read_bytes()
    if how == "swap":
        changed = (other / name).read_bytes() if (other / name).is_file() else data
    elif how in ("flip", "digit"):
        changed = change_one(data, how, random.Random(f"{file.name} {how}"))
    elif how in SHAPES:
        changed = change_shape(data, how, random.Random(f"{file.name} {how}"))
    else:
        changed = data[: len(data) // 2] if how == "truncate" else bytes(len(data))
    file.write_bytes(changed)
    return changed != data


def lead_elsewhere(file: Path, how: str, outside: Path) -> None:
    """Put a link in the place of a file or a folder, at best to just what was there."""
    target = outside / file.name.strip(".")
    if how == "link":
        shutil.move(file, target)
    elif file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    if how == "link to a folder":
        target.mkdir()
    file.symlink_to(file if how == "link to itself" else target)


def change_one(data: bytes, how: str, draw: random.Random) -> bytes:
    """Change one bit, or one digit to the next."""
    places = [i for i, byte in enumerate(data) if how == "flip" or byte in b"012345678"]
    changed = bytearray(data)
    for place in draw.sample(places, min(1, len(places))):
        changed[place] += 1 if how == "digit" else 0
        changed[place] ^= 0 if how == "digit" else 1 << draw.randrange(8)
    return bytes(changed)


def change_shape(data: bytes, how: str, draw: random.Random) -> bytes:
    """Write another JSON value, or the same one with something of another type in it."""
    plain = {"a list": "[]", "an object": "{}", "text": '"text"', "too deep": "[" * DEEP}
    if how in plain:
        return plain[how].encode()
    value = json.loads(data)
    places = list_places(value)
    if how == "a path outside":
        places = [place for place in places if place[1] in ("path", "folder")]
        chosen = places
    else:
        chosen = draw.sample(places, min(1, len(places)))
    for holder, key in chosen:
        up = "../" if key == "path" else "../../"
        is_list = isinstance(holder[key], list)
        holder[key] = (
            f"{up}outside/victim" if how == "a path outside" else "x" if is_list else [{}]
        )
    return json.dumps(value, indent=2).encode() + b"\n"


def list_places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place inside a JSON value: what holds it, and its key there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inside:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += list_places(item)
    return found


def make_outside(folder: Path) -> Callable[[], bool]:
    """Make a folder that is nobody's to touch; return what says whether it is as it was."""
    outside = folder / "outside"
    outside.mkdir(parents=True)
    (outside / "victim").write_text(SECRET)
    before: dict[Path, bytes | None] = {}

    def is_untouched() -> bool:
        now = {
            path: None if path.is_dir() else path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if folder / "run" not in (path, *path.parents)
        }
        if not before:
            before.update(now)
        return now == before

    return is_untouched
