"""Tutorials as notebooks: `python tools/notebooks.py docs/tutorials/digits.md > digits.ipynb`.

A tutorial is a page in Markdown. Its ``python`` blocks are the cells of a notebook, its ``sh`` blocks
cells that run a command, and a ``text`` block behind one of them is what it printed. With ``--run``
the cells are run, in an empty folder, and the blocks of text are written anew. The site calls the
two hooks below, so that each tutorial can be taken from it as a notebook.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


TUTORIALS = "tutorials/"  # under docs/
_FENCE = re.compile(r"^```(python|sh)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
_LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
_SECONDS = 300  # for one cell, on a machine with other work


@dataclass(frozen=True)
class Cell:
    """A piece of a tutorial.

    Args:
        kind: ``markdown``, ``python`` or ``sh``.
        text: What stands in it.
        output: What the page says that it prints; nothing for Markdown.
    """

    kind: str
    text: str
    output: str = ""

    @property
    def code(self) -> str:
        """The text as a notebook runs it: commands with the mark by which IPython knows them."""
        if self.kind != "sh":
            return self.text
        joined = self.text.replace("\\\n", " ")
        return "\n".join("!" + re.sub(r" +", " ", line) for line in joined.splitlines())


def split_page(text: str) -> list[Cell]:
    """Split the Markdown of a tutorial into cells, in order."""
    cells, end = [], 0
    for found in _FENCE.finditer(text):
        cells.append(Cell("markdown", text[end : found.start()].strip()))
        cells.append(Cell(found[1], found[2].rstrip("\n"), found[3] or ""))
        end = found.end()
    cells.append(Cell("markdown", text[end:].strip()))
    return [cell for cell in cells if cell.text]


def make_notebook(text: str) -> dict[str, Any]:
    """Make a notebook (nbformat 4.5) of the Markdown of a tutorial."""
    cells = []
    for number, cell in enumerate(split_page(text)):
        made: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        if cell.kind == "markdown":
            # Its neighbours on the site are not beside a notebook.
            made |= {"cell_type": "markdown", "source": _LINK.sub("]", cell.text)}
        else:
            output = {"output_type": "stream", "name": "stdout", "text": cell.output}
            made |= {
                "cell_type": "code",
                "execution_count": None,
                "outputs": [output] if cell.output else [],
                "source": cell.code,
            }
        cells.append(made)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def run_page(text: str, folder: Path) -> list[str]:
    """Run a tutorial as a notebook, and return what each of its cells of code prints.

    Args:
        text: The page.
        folder: Where its cells run.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises, or a command fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.from_dict(make_notebook(text))  # type: ignore[no-untyped-call]  # has no types
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        if cell.source.startswith("!"):
            # IPython goes on after a command that has failed.
            cell.source += "\nassert _exit_code == 0"
    # The commands of this Python, also where its environment was not activated.
    beside = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=_SECONDS, resources=resources)
    client.execute(env={**os.environ, "PATH": beside})
    return [read_output(cell) for cell in cells]


def read_output(cell: Any) -> str:
    """Return what a cell that was run has printed, and its value; figures and bars are left out."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif output.output_type == "execute_result":
            parts.append(output.data.get("text/plain", "") + "\n")
    lines = "".join(parts).replace("\r\n", "\n").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def renew_outputs(text: str, outputs: list[str]) -> str:
    """Write what the cells of code printed behind them, in place of what stands there."""
    left = iter(outputs)

    def renew(found: re.Match[str]) -> str:
        output = next(left)
        block = f"\n```text\n{output}```\n" if output else ""
        return f"```{found[1]}\n{found[2]}```\n{block}"

    return _FENCE.sub(renew, text)


def on_files(files: Any, config: Any) -> Any:
    """Hand the site a notebook beside each tutorial (a hook of MkDocs)."""
    from mkdocs.structure.files import File

    pages = [file for file in files if file.src_uri.startswith(TUTORIALS)]
    for page in pages:
        content = json.dumps(make_notebook(page.content_string), indent=1)
        files.append(File.generated(config, name_notebook(page.src_uri), content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead from a tutorial to its notebook (a hook of MkDocs)."""
    if not page.file.src_uri.startswith(TUTORIALS):
        return markdown
    title, _, rest = markdown.partition("\n")
    name = Path(name_notebook(page.file.src_uri)).name
    return f"{title}\n\nAs a notebook: [{name}]({name}).\n{rest}"


def name_notebook(page: str) -> str:
    """Return the name of a tutorial's notebook."""
    return f"{page.removesuffix('.md')}.ipynb"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", type=Path, nargs="+", help="such as docs/tutorials/digits.md")
    parser.add_argument("--run", action="store_true", help="write what the cells print anew")
    options = parser.parse_args()
    for page in options.pages:
        text = page.read_text(encoding="utf-8")
        if options.run:
            with tempfile.TemporaryDirectory() as folder:
                text = renew_outputs(text, run_page(text, Path(folder)))
            page.write_text(text, encoding="utf-8", newline="\n")
        else:
            sys.stdout.write(json.dumps(make_notebook(text), indent=1) + "\n")


if __name__ == "__main__":
    main()
