"""Measure how the package is laid out: ``python tools/measure_house.py CHECKOUT [CHECKOUT]``.

Files, lines of code, circles of imports by room (imports of types count, imports inside functions
do not), and how many files a newcomer touches. The last is counted on what is there: for each kind
of plug-in one that exists, and the files of the package whose code names it. With two checkouts
the second is the one to compare with the first.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


PACKAGE = "dpod_search"

# What a newcomer adds, an example of it that is there, and the names that it goes by.
EXAMPLES = {
    "a policy": ("sandwich", r"\b[Ss]andwich"),
    "a metric, with mdp": ("weight_bytes", r"\b_?\w*weight_bytes\b"),
    "a proposer": ("ladder", r"\b\w*[Ll]adder\b"),
    "a layer kind": ("GroupNorm", r"\b\w*GroupNorm\b|\bgroup_norm\b|\bnormalize_groups\b"),
    "a figure with new data": (
        "latency fit",
        r"\b\w*(?:LatencyFit|latency_fit)\w*\b|\bdraw_latency\b",
    ),
    "a surrogate": ("forest", r"\b\w*[Ff]orest\w*\b"),
}


@dataclass(frozen=True)
class Module:
    """A module of the package: its dotted name, its file, its text."""

    name: str
    path: Path
    text: str


def read_modules(checkout: Path) -> list[Module]:
    """Read every module of the package."""
    modules = []
    for path in sorted((checkout / PACKAGE).rglob("*.py")):
        dotted = path.relative_to(checkout).with_suffix("").as_posix().replace("/", ".")
        modules.append(
            Module(dotted.removesuffix(".__init__"), path, path.read_text(encoding="utf-8"))
        )
    return modules


def count_code_lines(text: str) -> int:
    """Count the lines that hold code: no blank ones, comments or docstrings."""
    lines: set[int] = set()
    start_of_line = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}:
            continue
        if token.type in {tokenize.NEWLINE, tokenize.ENDMARKER}:
            start_of_line = True
            continue
        is_docstring = token.type == tokenize.STRING and start_of_line
        start_of_line = False
        if not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def _list_imports(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _list_imports(node.body)
            yield from _list_imports(getattr(node, "orelse", []))


def read_imports(modules: list[Module]) -> dict[str, set[str]]:
    """Return for each module those of the package that it imports at its top level."""
    names = {module.name for module in modules}
    imports: dict[str, set[str]] = {}
    for module in modules:
        found = set()
        for node in _list_imports(ast.parse(module.text).body):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif node.module and not node.level:
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in names else node.module for name in full}
        imports[module.name] = (found & names) - {module.name}
    return imports


def find_circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules that reach each other, the largest first."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for name in imports[waiting.pop()] - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    reached = {name: reach(name) for name in imports}
    circles = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in imports
        if name in reached[name]
    }
    return sorted((list(circle) for circle in circles), key=len, reverse=True)


def _strip_docs(text: str) -> str:
    return re.sub(r'"""(?:.|\n)*?"""|#.*', "", text)


def measure(checkout: Path) -> dict[str, str]:
    """Measure a checkout, as rows of a table."""
    modules = read_modules(checkout)
    sizes = [count_code_lines(module.text) for module in modules]
    circles = find_circles(read_imports(modules))
    rows = {
        "files": f"{len(modules)}",
        "lines, with docstrings": f"{sum(len(module.text.splitlines()) for module in modules):,}",
        "lines of code": f"{sum(sizes):,}",
        "files under 40 lines, __init__ apart": str(
            sum(
                len(module.text.splitlines()) < 40 and module.path.name != "__init__.py"
                for module in modules
            )
        ),
        "circles": str(len(circles)),
    }
    for circle in circles:
        rooms = sorted({name.split(".")[1] for name in circle if "." in name})
        row = f"  files in circles of {' and '.join(rooms)}"
        rows[row] = str(int(rows.get(row, 0)) + len(circle))
    folders: dict[str, int] = {}
    for module in modules:
        folder = module.path.parent.relative_to(checkout).as_posix()
        folders[folder] = folders.get(folder, 0) + 1
    rows["most files in a folder"] = "{1} ({0})".format(*max(folders.items(), key=lambda f: f[1]))
    for kind, (example, pattern) in EXAMPLES.items():
        naming = [m for m in modules if re.search(pattern, _strip_docs(m.text))]
        rows[f"files that name {kind} ({example})"] = str(len(naming))
    return rows


def main() -> None:
    """Print the table of one checkout, or of two side by side."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    tables = [measure(Path(checkout)) for checkout in sys.argv[1:]]
    for row in dict.fromkeys(row for table in tables for row in table):
        print(f"{row:<55}" + "".join(f"{table.get(row, '0'):>28}" for table in tables))


if __name__ == "__main__":
    main()
