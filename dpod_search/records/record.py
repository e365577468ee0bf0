"""A file of a run folder as a frozen value: read with care, checked once, and written whole.

A class of this room says what stands in a file: its fields are the file's keys, in their order,
and a field with a default is left out where it has that. Whoever writes the file makes such a
value, and whoever reads it gets one, so there is nothing else to agree on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING
from dataclasses import fields
from functools import partial
from functools import reduce
from operator import getitem
from pathlib import Path
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import NoReturn
from typing import Self
from typing import TypeVar

from pydantic import AfterValidator
from pydantic import PlainValidator
from pydantic import StrictBool
from pydantic import StrictStr
from pydantic import TypeAdapter
from pydantic import ValidationError
from pydantic import model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from dpod_search.errors import CheckpointError
from dpod_search.errors import RunFolderError
from dpod_search.errors import show
from dpod_search.files import read_json
from dpod_search.files import write_json


_MAX_BYTES = 2**28  # of a file that is read; a history of a long training has a tenth

T = TypeVar("T", bound="FileRecord")

# How pydantic's own complaints are told, and what a list of such things is a list of.
_WANTED = {
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
    "tuple_type": "a list",
}
_PLURALS = {
    "text": "texts",
    "a number": "numbers",
    "a whole number": "whole numbers",
    "an object": "objects",
}


class _Nothing:
    def __repr__(self) -> str:
        return "'nothing'"


NOTHING = _Nothing()  # stands for a key that is not there


def refuse(wanted: str, *, at: str = "", got: object = None) -> PydanticCustomError:
    """Return the error by which a validator of a record says what a value must be.

    Args:
        wanted: What it must be.
        at: The key in what is validated that is wrong, or after ``../`` one beside that; empty for
            all of it.
        got: What stands there.
    """
    told = {"wanted": wanted} | ({"at": at, "got": got} if at else {})
    return PydanticCustomError("refused", "must be {wanted}", told)


def fail(path: Path, where: str, wanted: str, got: object) -> NoReturn:
    """Raise the error that says which value of which file is wrong.

    Args:
        path: The damaged file.
        where: The field, or the line and column.
        wanted: What it must be.
        got: What it is.

    Raises:
        CheckpointError: Always.
    """
    raise CheckpointError(
        f"{path} is damaged: {where} must be {wanted}, got {show(got)}; "
        "delete it and run the stage that writes it again"
    )


def check_number(value: object) -> float:
    """Check that a value is a finite number; a whole one stays one, as it was written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse("a number")
    try:
        is_finite = math.isfinite(value)
    except OverflowError:  # a whole number that is no float
        is_finite = False
    if not is_finite:
        raise refuse("a finite number")
    return value


def check_whole(value: object, low: int = 0) -> int:
    """Check that a value is a whole number that is not below a limit."""
    # A footprint may come as 1000.0: objectives are floats wherever they are kept.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < low:
        raise refuse(f"a whole number >= {low}")
    return number


def one_of(*words: str) -> PlainValidator:
    """Return what takes some words only."""

    def check(value: object) -> object:
        if value not in words:
            raise refuse(f"one of {', '.join(words)}")
        return value

    return PlainValidator(check)


def _check_name(value: str) -> str:
    parts = value.split("/")
    if not value.isprintable() or "\\" in value or ":" in value or {"", ".", ".."} & {*parts}:
        raise refuse("the name of a file inside the run folder")
    return value


Text = StrictStr
Flag = StrictBool
Number = Annotated[float, PlainValidator(check_number)]
Count = Annotated[int, PlainValidator(check_whole)]
Positive = Annotated[int, PlainValidator(partial(check_whole, low=1))]
Name = Annotated[StrictStr, AfterValidator(_check_name)]  # of a file, with slashes


@dataclass(frozen=True)
class Record:
    """An object of a file; attributes are its keys.

    ``SPREAD`` names a field whose entries stand among the other keys. ``AFFIXES`` tells of fields
    whose entries stand there too, with what is put before and behind their names. ``UNWRITTEN``
    names those that are not in the file, but known from others.
    """

    SPREAD: ClassVar[str] = ""
    AFFIXES: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType({})
    UNWRITTEN: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """Gather what is spread, and let what is missing be told like what is wrong."""
        if not isinstance(value, dict):
            return value
        names = {field.name for field in fields(cls)} - {*cls.UNWRITTEN}
        found = {name: item for name, item in value.items() if name in names}
        value = _gather_affixed(value, found, cls.AFFIXES)
        if cls.SPREAD and cls.SPREAD not in found:
            found[cls.SPREAD] = {n: item for n, item in value.items() if n not in names}
        return {f.name: NOTHING for f in fields(cls) if f.default is MISSING} | found

    def to_json(self) -> dict[str, Any]:
        """Return the object as JSON values, with its keys in the order of the fields."""
        content: dict[str, Any] = {}
        for field in fields(self):
            if field.name in self.UNWRITTEN:
                continue
            value = getattr(self, field.name)
            if field.name == self.SPREAD:
                content |= value
            elif field.name in self.AFFIXES:
                before, behind = self.AFFIXES[field.name]
                content |= {f"{before}{name}{behind}": item for name, item in value.items()}
            elif field.default is MISSING or value != field.default:
                content[field.name] = _to_json(value)
        return content


def _gather_affixed(
    value: Mapping[str, Any], found: dict[str, Any], affixes: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    """Gather entries of affixed fields in ``found``; return those of no field yet."""
    left = {name: item for name, item in value.items() if name not in found}
    # What has something behind it first: ``x_y_before`` is no ``y_before`` of what is called ``x_``.
    for field, (before, behind) in sorted(affixes.items(), key=lambda item: not item[1][1]):
        if field in found:
            continue
        mine = [n for n in left if n.startswith(before) and n.endswith(behind)]
        found[field] = {
            name[len(before) : len(name) - len(behind)]: left.pop(name) for name in mine
        }
    return left


def _to_json(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _to_json(item) for name, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, tuple | list) else value


@dataclass(frozen=True)
class FileRecord(Record):
    """All of a file; ``FILE`` is its name in the run folder, or in a folder of that."""

    FILE: ClassVar[str]

    @classmethod
    def read(cls, run: Path, place: str = "", **known: object) -> Self:
        """Read the file of a run.

        Args:
            run: The run folder.
            place: The folder in it that holds the file; empty is the run folder.
            known: What other files of the run say, if the file is to agree with them.

        Raises:
            CheckpointError: If it is missing or damaged, or does not agree.
            RunFolderError: If there is a link in its place.
        """
        path = locate(run, f"{place}/{cls.FILE}")
        return _check(cls, read_json(path, _MAX_BYTES), path, known)

    @classmethod
    def read_if_there(cls, run: Path, place: str = "", **known: object) -> Self | None:
        """Read the file of a run, or return None if there is none; all else as :meth:`read`."""
        is_there = locate(run, f"{place}/{cls.FILE}").is_file()
        return cls.read(run, place, **known) if is_there else None

    def write(self, run: Path, place: str = "") -> None:
        """Write the file, whole; arguments as of :meth:`read`.

        Raises:
            CheckpointError: If it cannot be written.
            RunFolderError: If there is a link in its place.
        """
        write_json(locate(run, f"{place}/{self.FILE}"), self.to_json())


def locate(run: Path, name: str) -> Path:
    """Return where a file of a run lies; nothing of a run is a link, and none is followed.

    Args:
        run: The run folder, which may be a link itself.
        name: The file's name in it, with slashes.

    Raises:
        RunFolderError: If the file, or a folder on the way to it, is a link.
    """
    path = run
    for part in PurePosixPath(name.strip("/")).parts:
        path /= part
        if path.is_symlink():
            raise RunFolderError(
                f"{path} is a link, and a run follows none; delete it, or put what it leads to "
                "in its place"
            )
    return path


def _check(kind: type[T], value: Any, path: Path, known: Mapping[str, object]) -> T:
    if not isinstance(value, dict):
        fail(path, "the file", "a JSON object", value)
    try:
        checked: T = TypeAdapter(kind).validate_python(value, context=dict(known))
    except ValidationError as error:
        fail(path, *_explain(error, value))
    return checked


def _explain(error: ValidationError, value: Any) -> tuple[str, str, object]:
    """Return where pydantic first complains of a value, what is wanted there, and what it got."""
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}) if first["type"] == "refused" else {}
    wanted = own.get("wanted") or _WANTED.get(first["type"], first["msg"])
    got, where = own.get("got", first["input"]), list(first["loc"])
    if own.get("at"):
        where[len(where) - own["at"].startswith("../") :] = [own["at"].removeprefix("../")]
    plural = next((many for one, many in _PLURALS.items() if wanted.startswith(one)), None)
    if where and isinstance(where[-1], int) and plural is not None:
        where.pop()
        wanted, got = f"a list of {plural}", reduce(getitem, where, value)
    told = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where)
    return told.lstrip("."), wanted, got
