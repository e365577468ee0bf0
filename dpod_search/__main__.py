"""Run the command line as ``python -m dpod_search``."""

from __future__ import annotations

from dpod_search.cli import main


if __name__ == "__main__":
    main()
