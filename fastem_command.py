"""The console script ``fastem``. It is outside of the package, so that Ctrl-C prints no traceback while that loads."""

import os
import sys


def main() -> None:
    """Run the command line. A standard stream that was closed, which Python has as None, is one that nobody reads."""
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    try:
        from fastem.cli import app

        app()
    except KeyboardInterrupt:
        print("fastem: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
