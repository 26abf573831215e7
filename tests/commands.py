"""Run commands of the command line within the process of the tests."""

from typer.testing import CliRunner

from fastem import cli


def run(*args, code=0):
    """Run a command, check its exit status and return what it printed, (stdout, stderr)."""
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr
