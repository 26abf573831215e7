"""What ``python -m fastem`` runs: see `fastem.cli`."""

from fastem_command import main

if __name__ == "__main__":
    main()
