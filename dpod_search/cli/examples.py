"""What a model without a study is inspected with: pictures, other shapes, or an example of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpod_search.data.settings import MAX_PIXELS
from dpod_search.errors import ConfigError
from dpod_search.errors import check_choice
from dpod_search.errors import check_count
from dpod_search.errors import show
from dpod_search.imports import call_with
from dpod_search.imports import import_object
from dpod_search.inputs import Example
from dpod_search.inputs import spell_dtype
from dpod_search.own_code import own_code
from dpod_search.quantities import count
from dpod_search.rng import torch_generator


_PICTURE = "3,224,224"
_N_SAMPLES = 2
_N_AXES = 8
_DTYPES = {
    spell_dtype(kind): kind
    for kind in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.uint8, torch.bool),
    )
}


@dataclass(frozen=True)
class AskedInput:
    """What was asked for on the command line.

    Args:
        shapes: Shapes of one sample of each input, as ``3,224,224``.
        dtypes: Their types, as ``int64``.
        function: The import path of a function that makes an example.
    """

    shapes: Sequence[str] = ()
    dtypes: Sequence[str] = ()
    function: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.shapes or self.dtypes or self.function)

    def find_picture(self) -> tuple[int, int, int] | None:
        """Return the shape of a picture, if the model is to be taken for a classifier of such.

        Raises:
            ConfigError: If the shape is none.
        """
        if self.function is not None or self.dtypes or len(self.shapes) > 1:
            return None
        (text,) = self.shapes or (_PICTURE,)
        shape = _parse_shape(text)
        if len(shape) != 3:
            raise ConfigError(
                f"--input-shape must be channels,height,width such as 3,224,224, got {show(text)}; "
                "for a model that takes no pictures say --input-dtype too, or --example"
            )
        return shape[0], shape[1], shape[2]

    def make_example(self) -> Example:
        """Return what the model is called with.

        Raises:
            ConfigError: If it cannot be made.
        """
        if self.function is not None:
            if self.shapes or self.dtypes:
                raise ConfigError(
                    "--example makes the whole input; leave out --input-shape and --input-dtype"
                )
            with own_code(f"--example {self.function}", ConfigError):
                made: Example = call_with(import_object(self.function), {}, name=self.function)
            return made
        shapes = [_parse_shape(text) for text in self.shapes or (_PICTURE,)]
        dtypes = list(self.dtypes or ["float32"] * len(shapes))
        if len(dtypes) != len(shapes):
            raise ConfigError(
                f"--input-dtype must be given once for each --input-shape, got {len(dtypes)} for "
                f"{len(shapes)}"
            )
        pairs = enumerate(zip(shapes, dtypes, strict=True))
        tensors = tuple(_draw(number, *pair) for number, pair in pairs)
        return tensors if len(tensors) > 1 else tensors[0]


def _parse_shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
        for size in shape:
            check_count("each", size, low=1, high=MAX_PIXELS)
        check_count("their number", len(shape), low=1, high=_N_AXES)
    except ValueError as error:
        raise ConfigError(
            f"--input-shape must be the sizes of one sample, such as 3,224,224, each at most "
            f"{count(MAX_PIXELS)}, got {show(text)}"
        ) from error
    return shape


def _draw(number: int, shape: tuple[int, ...], dtype: str) -> Tensor:
    """Draw an input; whole numbers are 0 and 1, which every vocabulary and every mask has."""
    check_choice("--input-dtype", dtype, _DTYPES)
    generator, kind = torch_generator(0, "inspect/example", number), _DTYPES[dtype]
    size = (_N_SAMPLES, *shape)
    if kind.is_floating_point:
        return torch.randn(size, generator=generator).to(kind)
    drawn = torch.randint(2, size, generator=generator)
    drawn[..., 0] = 1  # no row of a mask hides everything
    return drawn.to(kind)
