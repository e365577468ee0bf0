"""A file of text as rows of tokens, each with the tokens that come next."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dpod_search.data.collating import split_batch
from dpod_search.data.places import find_file
from dpod_search.data.places import refuse_image_size
from dpod_search.data.settings import DataSettings
from dpod_search.data.source import MOST_NAMES
from dpod_search.data.source import DataSource
from dpod_search.data.source import hash_tensors
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError
from dpod_search.errors import check_count
from dpod_search.errors import show
from dpod_search.errors import tell_first_line
from dpod_search.escaping import spell_name


_logger = logging.getLogger(__name__)

_HELD_OUT = (10, 20)  # a tenth of the text is kept apart, and half of that to test on
_LEAST_ROWS = 2  # of the training text: one of them to calibrate on


class TextRows(Dataset[tuple[Tensor, Tensor]]):
    """Rows of tokens of one text, none of them in two rows, and the tokens that come next.

    Args:
        ids: Tokens of the text, in their order.
        context: Tokens of a row.
    """

    def __init__(self, ids: Tensor, context: int) -> None:
        """Keep the tokens; nothing is copied. What is left at the end makes no row."""
        self.ids = ids
        self.context = context

    def __len__(self) -> int:
        """Return the number of rows."""
        return max(0, (len(self.ids) - 1) // self.context)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a row, int64 ``context``, and the one that begins a token later."""
        rows, nexts = self.fetch([index])
        return rows[0], nexts[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return several of them, as PyTorch's own loader asks for them."""
        return split_batch(*self.fetch(indices))

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return rows and the tokens that come next, ``batch x context`` each."""
        starts = torch.as_tensor(indices, dtype=torch.int64)
        if bool(((starts < 0) | (starts >= len(self))).any()):
            raise IndexError(f"there are {len(self)} rows")
        rows = self.ids[starts[:, None] * self.context + torch.arange(self.context + 1)]
        return rows[:, :-1], rows[:, 1:]


def load_text(
    name: str, settings: DataSettings, *, context: int = 128, tokenizer: str | None = None
) -> DataSource:
    """Load a file of text; its last tenth is kept apart, half to validate on, half to test on.

    Args:
        name: The file, UTF-8, relative to ``data.root``.
        settings: ``root`` counts.
        context: Tokens of a row, 1 to 1,000,000.
        tokenizer: A file of the library ``tokenizers``, relative to ``data.root``; without one
            each character is a token, those of the whole text.

    Raises:
        ConfigError: If an argument is out of range, or ``tokenizers`` is not installed.
        DataError: If a file is missing or is of another kind, or the text is too short.
    """
    refuse_image_size(f"text:{name}", settings)
    check_count("data.arguments.context", context, low=1, high=1_000_000)
    text = _read(find_file(name, settings, "text"))
    if tokenizer is None:
        ids, tokens = _number_characters(text)
    else:
        ids, tokens = _tokenize(text, find_file(tokenizer, settings, "data.arguments.tokenizer"))
    ends = tuple(len(ids) - len(ids) // divisor for divisor in _HELD_OUT)
    parts = [TextRows(part, context) for part in torch.tensor_split(ids, ends)]
    train, validation, test = parts
    if len(train) < _LEAST_ROWS or not len(validation) or not len(test):
        raise DataError(
            f"text: {spell_name(name)} has {len(ids):,} tokens; with data.arguments.context = "
            f"{context:,} its last twentieth, {len(test.ids):,}, makes no row to test on: add text "
            "or shorten the context"
        )
    return DataSource(
        train,
        None,
        len(tokens),
        tokens if len(tokens) <= MOST_NAMES else (),
        hash_tensors(ids, torch.tensor(context)),
        test=test,
        validation=validation,
    )


def _read(path: Path) -> str:
    try:
        # Newlines as they stand: what a model learns must not depend on the system.
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise DataError(
            f"text: {spell_name(str(path))} is not UTF-8 (byte {error.start:,}); convert it"
        ) from error
    except OSError as error:
        raise DataError(
            f"text: {spell_name(str(path))} cannot be read: {error.strerror or error}"
        ) from error


def _number_characters(text: str) -> tuple[Tensor, tuple[str, ...]]:
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    found, ids = np.unique(points, return_inverse=True)
    return torch.from_numpy(ids.astype(np.int64)), tuple(map(chr, found.tolist()))


def _tokenize(text: str, path: Path) -> tuple[Tensor, tuple[str, ...]]:
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            "data.arguments.tokenizer needs the library tokenizers: install dpod-search[text], or "
            "leave it out to take characters"
        ) from error
    try:
        made: Any = tokenizers.Tokenizer.from_file(str(path))
        ids = torch.tensor(made.encode(text, add_special_tokens=False).ids, dtype=torch.int64)
        names = {number: token for token, number in made.get_vocab().items()}
    except Exception as error:  # of which tokenizers has no kinds
        raise DataError(
            f"data.arguments.tokenizer: {spell_name(str(path))} cannot be used "
            f"({show(tell_first_line(error))}); name a tokenizer.json of the library tokenizers"
        ) from error
    _logger.info(
        "the tokenizer makes %d tokens of %d characters: task.arguments.characters_per_token = %.4f",
        len(ids),
        len(text),
        len(text) / max(1, len(ids)),
    )
    size = 1 + max(names, default=-1)
    return ids, tuple(names.get(number, "") for number in range(size))
