"""Writing a plain module as readable Python that needs PyTorch only."""

from dpod_search.export.source.layers import CannotWriteError
from dpod_search.export.source.write import write_source


__all__ = ["CannotWriteError", "write_source"]
