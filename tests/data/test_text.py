"""Text as rows of tokens: what follows what, and which end is kept apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dpod_search.data import DataSettings
from dpod_search.data import DataSplits
from dpod_search.data import load_data
from dpod_search.data.datasets import fetch_batch
from dpod_search.errors import ConfigError
from dpod_search.errors import DataError


TEXT = "".join(chr(97 + i * i % 23) for i in range(990)) + "äöü\r\n😀XYZ\u2028"


def load(folder: Path, text: str = TEXT, **arguments: Any) -> DataSplits:
    """Write a text and load it."""
    (folder / "text.txt").write_bytes(text.encode())
    return load_data(DataSettings(name="text:text.txt", root=str(folder), arguments=arguments), 0)


def spell(splits: DataSplits, row: torch.Tensor) -> str:
    """Write tokens as the text they stand for."""
    return "".join(splits.class_names[number] for number in row.tolist())


def test_targets_are_what_comes_next_and_rows_are_the_whole_text_in_order(tmp_path: Path) -> None:
    splits = load(tmp_path, context=10)
    rows, nexts = fetch_batch(splits.test, range(len(splits.test)))

    assert rows.dtype == nexts.dtype == torch.int64
    assert torch.equal(rows[:, 1:], nexts[:, :-1])
    assert spell(splits, rows.flatten()) == TEXT[950:990]
    assert spell(splits, nexts.flatten()) == TEXT[951:991]
    assert splits.class_names == tuple(sorted(set(TEXT)))
    assert splits.n_classes == len(set(TEXT))


def test_no_token_is_in_two_rows_or_two_parts(tmp_path: Path) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))  # each character once
    splits = load(tmp_path, text, context=7)
    parts = (splits.train, splits.calibration, splits.validation, splits.test)
    rows = [fetch_batch(part, range(len(part)))[0] for part in parts]
    tokens = torch.cat([part.flatten() for part in rows])

    assert len(tokens.unique()) == len(tokens) > 960
    assert int(torch.cat(rows[:2]).max()) < 900 <= int(rows[2].min())
    assert int(rows[2].max()) < 950 <= int(rows[3].min())
    assert splits.input_shape == (7,)


def test_the_fingerprint_sees_text_and_context(tmp_path: Path) -> None:
    prints = {
        load(tmp_path, context=10).fingerprint,
        load(tmp_path, context=9).fingerprint,
        load(tmp_path, TEXT[1:] + "a", context=10).fingerprint,
    }
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"abc", "text.txt has 3 tokens; with .* = 128"),
        (b"", "has 0 tokens"),
        (b"abc\xff" * 1000, r"is not UTF-8 \(byte 3\)"),
    ],
)
def test_bad_texts_are_one_line(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "text.txt").write_bytes(raw)
    with pytest.raises(DataError, match=message) as caught:
        load_data(DataSettings(name="text:text.txt", root=str(tmp_path)), 0)
    assert "\n" not in str(caught.value)


def test_a_missing_text_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*none\.txt; name one from data\.root"):
        load_data(DataSettings(name="text:none.txt", root=str(tmp_path)), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": 0}, "data.arguments.context must be a whole number"),
        ({"length": 3}, "it takes context, tokenizer"),
        ({"tokenizer": 3}, "data.arguments.tokenizer must name a file"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **arguments)


def test_a_tokenizer_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"install dpod-search\[text\]"):
        load(tmp_path, tokenizer="tokenizer.json")


def test_a_tokenizer_makes_the_tokens(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    made = tokenizers.Tokenizer(WordLevel({"[UNK]": 0, "to": 1, "be": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    splits = load(tmp_path, "to be or " * 200, context=5, tokenizer="tokenizer.json")
    rows, _ = fetch_batch(splits.test, [0])

    assert splits.class_names == ("[UNK]", "to", "be")
    assert rows.tolist() == [[1, 2, 0, 1, 2]]

    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be used .*; name a tokenizer.json") as caught:
        load(tmp_path, tokenizer="tokenizer.json")
    assert "\n" not in str(caught.value)
