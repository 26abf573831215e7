"""Run commands of the command line within the process of the tests."""

from functools import cache

from typer import testing

from fastem import cli

# Else typer makes all commands anew of their signatures for each run, which takes 6 ms.
testing._get_command = cache(testing._get_command)


def run(*args, code=0):
    """Run a command, check its exit status and return what it printed, (stdout, stderr)."""
    result = testing.CliRunner().invoke(cli.app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr
