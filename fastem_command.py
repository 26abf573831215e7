"""The console script ``fastem``, outside of the package so that Ctrl-C while that loads is no traceback."""

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
