"""For the site: griffe, which reads the code for it, takes records for the dataclasses they are.

It knows those of the standard library alone; pydantic's have the same fields.
"""

from __future__ import annotations

from typing import Any

import griffe


class Records(griffe.Extension):
    """Reads the dataclasses of pydantic as those of the standard library."""

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        """Let a module's name for the one decorator stand for the other."""
        for name, path in mod.imports.items():
            if path == "pydantic.dataclasses.dataclass":
                mod.members[name] = griffe.Alias(name, "dataclasses.dataclass", parent=mod)
