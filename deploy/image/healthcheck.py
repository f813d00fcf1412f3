"""Whether this container is well: its page answers, if it serves one; else its first process lives.

`factory serve` is found by its command line, and its port with it, so that nothing has to be set twice.
"""

import sys
import urllib.error
import urllib.request
from pathlib import Path

DEFAULT_PORT = "8765"
TIMEOUT_S = 5


def served_port(command: list[str]) -> str | None:
    """The port of `factory serve` in a command line; None if that is another command."""
    if "serve" not in command or not any(Path(word).name == "factory" for word in command):
        return None
    for position, word in enumerate(command):
        if word == "--port" and position + 1 < len(command):
            return command[position + 1]
        if word.startswith("--port="):
            return word.removeprefix("--port=")
    return DEFAULT_PORT


def main() -> int:
    """Return 0 if the container is well, 1 if not."""
    command = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    port = served_port(command)
    if port is None:
        return 0  # the first process is there, or nobody could ask
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT_S):
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)  # noqa: T201 - docker shows it
        return 1


if __name__ == "__main__":
    sys.exit(main())
