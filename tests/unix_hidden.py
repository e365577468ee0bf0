"""The command line on a system that lacks what Unix alone has, as far as one can be made here.

``python tests/unix_hidden.py status --study digits``. What the package stands on is imported first:
it has ways of its own.
"""

from __future__ import annotations

import os
import signal
import sys


MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
OF_OS = ("fork", "forkpty", "geteuid", "getpgid", "getuid", "killpg", "mkfifo", "nice", "setsid")
OF_SIGNAL = ("SIGALRM", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "alarm", "pthread_kill")


def hide() -> None:
    """Take away what there is on Unix alone."""
    import filelock  # noqa: F401
    import joblib.externals.loky  # noqa: F401
    import optuna  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch.export  # noqa: F401

    assert not any(name.startswith("dpod_search") for name in sys.modules)
    sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type]  # None: not to be found
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names:
            delattr(module, name)
    os.symlink = os.link = _refuse


def _refuse(*_: object, **__: object) -> None:
    raise OSError("a required privilege is not held by the client")


if __name__ == "__main__":
    del sys.path[0]  # the folder of the tests, whose names are none of the package's
    hide()
    from dpod_search.cli import main

    main()
