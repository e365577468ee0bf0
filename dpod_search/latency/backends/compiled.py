"""PyTorch's compiler: a net is compiled once and then run."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch import nn

from dpod_search.errors import ConfigError
from dpod_search.errors import tell_first_line
from dpod_search.latency.backends.eager import make_run
from dpod_search.latency.timing import Run


class CompiledBackend:
    """Runs modules that ``torch.compile`` has compiled; compiling takes seconds for each.

    What is prepared makes what was prepared before unfit to be timed: it would compile again.
    """

    name = "compile"

    def find_version(self) -> str:
        """Return PyTorch's version."""
        return f"torch {torch.__version__.split('+')[0]} compiled"

    def prepare(
        self, module: nn.Module, images: Tensor, *, device: torch.device, n_threads: int
    ) -> Run:
        """Compile the module by running it once.

        Raises:
            ConfigError: If the compiler is not there (on the CPU it needs a C++ compiler), or
                cannot compile this module.
        """
        # Else the compiler gives up on the ninth module of one class, and runs it as it is.
        torch.compiler.reset()
        run = make_run(module, images, device)
        try:
            with warnings.catch_warnings():
                # Of PyTorch about its own parts.
                warnings.simplefilter("ignore")
                # In place: a compiled wrapper would have other names for the parameters.
                module.compile(dynamic=False)
                run()
        except Exception as error:  # the compiler's own kinds of errors are not public
            raise ConfigError(
                f"torch.compile cannot compile the net here ({tell_first_line(error)}); "
                'set latency.backend = "eager"'
            ) from error
        return run
