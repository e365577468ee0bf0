"""A drafted study as a short file: what was found, each setting with its reason, how to run it."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dpod_search.config.limits import check_values
from dpod_search.config.study import StudyConfig
from dpod_search.config.study import find_sections
from dpod_search.config.write import format_value
from dpod_search.escaping import make_visible


_WIDTH = 95
_TRY = "--out runs/try --set search.n_trials=30 --set finetune.n_subnets=3"


@dataclass(frozen=True)
class DraftedSetting:
    """A setting, and why.

    Args:
        key: As ``data.image_size``; of what stands in no section as ``threads``.
        value: A text, number, truth value, list, or table of such.
        reason: One short sentence, for a person.
    """

    key: str
    value: Any
    reason: str

    @property
    def override(self) -> str:
        """The setting as ``--set`` takes it."""
        return f"{self.key}={format_value(self.value)}"


def write_draft(
    found: Sequence[str],
    settings: Sequence[DraftedSetting],
    offered: Sequence[DraftedSetting],
    *,
    name: str | None = None,
    file: str = "my_study.toml",
) -> str:
    """Write a study file.

    Args:
        found: What was found, a sentence each, for the head.
        settings: What the study says.
        offered: What stands in it commented out.
        name: Name of the study, or None to take that of the file.
        file: What the file is called, for how to run it.

    Returns:
        TOML that loads.

    Raises:
        ConfigError: If a value is none that a study may hold.
    """
    check_values({setting.key: setting.value for setting in settings}, "a study file")
    lines = [_comment("A study of dpod-search, drafted from:")]
    lines += [_comment(f"* {text}", indent="  ") for text in found]
    lines.append(
        _comment("What stands nowhere here has its default; init --full shows all of it.")
    )
    lines.append("\n")
    if name is not None:
        lines.append(f"name = {format_value(name)}\n\n")
    sections = {_find_section(setting) for setting in (*settings, *offered)}
    known = ["", *find_sections(StudyConfig)]
    for section in sorted(sections, key=known.index):
        lines += [f"[{section}]\n"] if section else []
        lines += [_write(s, "") for s in settings if _find_section(s) == section]
        lines += [_write(s, "#") for s in offered if _find_section(s) == section]
        lines.append("\n")
    # A comment ends where a line does, and holds no character that is not seen.
    shown = "\\n".join(make_visible(shlex.quote(file)).splitlines())
    return "".join(lines) + _tell_how(shown)


def _find_section(setting: DraftedSetting) -> str:
    return setting.key.rpartition(".")[0]


def _write(setting: DraftedSetting, before: str) -> str:
    key = setting.key.rpartition(".")[2]
    return f"{_comment(setting.reason)}{before}{key} = {format_value(setting.value)}\n"


def _comment(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(
        make_visible(text),
        width=_WIDTH,
        break_on_hyphens=False,
        break_long_words=False,
        subsequent_indent=indent,
    )
    return "".join(f"# {line}\n" for line in lines)


def _tell_how(file: str) -> str:
    return (
        "# What can run narrower, and what a run takes:\n"
        f"#   dpod-search inspect --study {file} --times\n"
        "# A short try, and the run:\n"
        f"#   dpod-search run --study {file} {_TRY}\n"
        f"#   dpod-search run --study {file}\n"
    )
