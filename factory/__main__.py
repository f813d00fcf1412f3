"""The command `factory`, and `python -m factory`: the command line, and its end after a signal."""

import contextlib
import os
import signal
import sys
import threading

from factory.cli.app import app
from factory.errors import Interrupted


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: Always, with the exit code.
    """
    try:
        app()
    except SystemExit as end:
        if end.code == Interrupted.exit_code:
            _end_in_peace()
        raise


def _end_in_peace() -> None:
    """Let no further Ctrl+C change the exit code: all has been said, and a schedule reads the code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if threading.active_count() > 1:
        # The second Ctrl+C did not wait for threads that compute. The interpreter's end would take their
        # libraries from under them, and the process would abort.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(Interrupted.exit_code)


if __name__ == "__main__":
    main()
