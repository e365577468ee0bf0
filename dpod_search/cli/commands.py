"""The command line's application: its commands, and what becomes of errors."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from typing import Annotated
from typing import NoReturn

import typer

from dpod_search import __version__
from dpod_search.cli import dashboard
from dpod_search.cli import doctor
from dpod_search.cli import latency
from dpod_search.cli import looking
from dpod_search.cli import shrink
from dpod_search.cli.interrupts import Interrupts
from dpod_search.cli.options import Asked
from dpod_search.cli.options import make_command
from dpod_search.cli.terminal import say
from dpod_search.cli.terminal import spare_encoding
from dpod_search.cli.usage import UsageError
from dpod_search.cli.usage import describe_usage
from dpod_search.cli.usage import is_help
from dpod_search.errors import DpodSearchError
from dpod_search.errors import shorten
from dpod_search.orphans import end_with


_NAME = "dpod-search"

app = typer.Typer(
    name=_NAME,
    help="Search the layer widths of a PyTorch model for accuracy against footprint.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: dpod-search run --study digits",
)

_ADVICE = {
    errno.EACCES: "; see to its rights, or name another place",
    errno.EPERM: "; see to its rights, or name another place",
    errno.EROFS: "; name another place",
}
_INTERRUPTED = 130  # what Typer makes of Ctrl-C
_SHOWN = 1000  # characters of an error, however long a name in it is
_SHOWN_REASON = 300  # and of what PyTorch says of the memory


# The commands on a run: the help of each, an example, and its options.
_ON_RUNS = {
    "run": (
        "Train, search, finetune, export and report. What an earlier run did is not done again.",
        "run --study digits --set search.n_trials=500",
        "study run out sets seed storage budgets latency_table jobs quiet as_json",
    ),
    "train": (
        "Train the supernet.",
        "train --study digits",
        "study run out sets seed storage quiet as_json",
    ),
    "search": (
        "Search the widths of the trained supernet.",
        "search --run runs/digits --jobs 4",
        "study run out sets seed storage latency_table jobs quiet as_json",
    ),
    "worker": (
        "Join a search with one more process. It works on the study of a run folder, or of a copy of it.",
        "worker --run runs/digits",
        "study run out sets seed storage latency_table quiet as_json parent",
    ),
    "finetune": (
        "Finetune the best subnets and test them.",
        "finetune --run runs/digits --budgets 'macs<=25%,macs<=50%'",
        "study run out sets seed storage budgets latency_table jobs quiet as_json",
    ),
    "export": (
        "Export the finetuned subnets as plain models.",
        "export --run runs/digits --set 'export.formats=[\"onnx\"]'",
        "study run out sets seed storage quiet as_json",
    ),
    "report": (
        "Write report.html from what the run folder holds.",
        "report --run runs/digits --png",
        "study run out sets seed storage png quiet as_json",
    ),
    "mdp": (
        "Prune at once to a budget. Without supernet or search: the widths that keep most importance.",
        "mdp --study digits --budget 'macs<=50%'",
        "study run budget method finetunes out sets seed storage latency_table jobs quiet as_json",
    ),
}


def _register() -> None:
    """Add the commands, in the order that the help lists them."""
    app.command(epilog=f"Example: dpod-search {shrink.EXAMPLE}")(shrink.shrink)
    for name, (about, example, options) in _ON_RUNS.items():
        work = make_command(partial(_work, name), options)
        app.command(name, help=about, epilog=f"Example: dpod-search {example}")(work)
    app.add_typer(latency.latency)
    for command, example in (
        (looking.compare, "compare runs/one runs/two --out both.html"),
        (dashboard.dashboard, "dashboard --run runs/digits"),
        (looking.status, "status --run runs/digits"),
        (looking.inspect, "inspect --model torchvision:mobilenet_v2 --html graph.html"),
        (looking.studies, "studies"),
        (looking.init, "init --model resnet20 --data cifar10 > my_study.toml"),
        (doctor.doctor, "doctor"),
    ):
        app.command(epilog=f"Example: dpod-search {example}")(command)


def _work(command: str, asked: Asked) -> None:
    # PyTorch takes seconds to import, which nobody has to wait who asks for help or errs.
    from dpod_search.cli import stages

    if command == "worker":
        stages.join_search(asked)
    else:
        stages.run_command(command, asked)


_register()


def main() -> None:
    """Run the command line: errors of the user are one line, and exit code 2."""
    logging.getLogger("dpod_search").addHandler(logging.NullHandler())
    spare_encoding()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun started this rank, and ends it if it can
        end_with(os.getppid())
    with Interrupts() as interrupts:
        try:
            # Not stand-alone: errors of Typer's own have more lines than one.
            code = app(standalone_mode=False, prog_name=_NAME)
            sys.exit(code if isinstance(code, int) else 0)
        except BaseException as error:  # after a signal it may be anything
            if interrupts.came or _is_interrupt(error):
                interrupts.end()
                _end(interrupts.came or signal.SIGINT)
            if isinstance(error, UsageError):
                _fail_usage(error)
            if isinstance(error, DpodSearchError):
                _fail(error)
            if isinstance(error, OSError):
                # One without a file may come from a user's own function, in words of its own.
                what = f"{error.filename or type(error).__name__}: {error.strerror or error}"
                _fail(f"{what}{_ADVICE.get(error.errno or 0, '')}")
            if _is_out_of_memory(error):
                reason = shorten(str(error), _SHOWN_REASON)
                _fail(f"memory is short ({reason}); take smaller batches, pictures or models")
            raise


@app.callback(invoke_without_command=True)
def show_version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Search the layer widths of a PyTorch model for accuracy against footprint."""
    if version:
        print(__version__)
        raise typer.Exit


def _is_interrupt(error: BaseException) -> bool:
    is_exit = isinstance(error, SystemExit) and error.code == _INTERRUPTED
    return is_exit or isinstance(error, KeyboardInterrupt)


def _is_out_of_memory(error: BaseException) -> bool:
    # PyTorch has an error of its own on a GPU, which is a RuntimeError, and none on the CPU.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _end(came: signal.Signals) -> NoReturn:
    why = "interrupted" if came == signal.SIGINT else f"told to end ({came.name})"
    # Where the terminal has been closed nobody can be told.
    with suppress(OSError):
        _say_error(f"{why}; the same command goes on where it stopped")
    sys.exit(128 + came)  # as shells say it


def _fail_usage(error: Exception) -> NoReturn:
    if is_help(error):
        say(str(error), is_error=True)
        sys.exit(2)
    _fail(describe_usage(error))


def _fail(error: object) -> NoReturn:
    _say_error(shorten(" ".join(str(error).split()), _SHOWN))
    sys.exit(2)


def _say_error(message: str) -> None:
    # Of the ranks that torchrun started, those that fail because of another have nothing to add;
    # until the training has been imported none has failed because of another.
    training = sys.modules.get("dpod_search.training")
    if training is None or training.is_first_to_fail():
        say(f"dpod-search: {message}", is_error=True)
