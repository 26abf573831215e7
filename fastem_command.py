"""The console script ``fastem``. It is outside of the package, so that Ctrl-C prints no traceback while that loads."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from fastem.cli import app

        app()
    except KeyboardInterrupt:
        print("fastem: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
