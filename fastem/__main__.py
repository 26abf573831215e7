"""What ``python -m fastem`` and the console script run: see `fastem.cli`."""


def main() -> None:
    """Run the command line."""
    from fastem.cli import app

    app()


if __name__ == "__main__":
    main()
