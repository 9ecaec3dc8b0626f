"""How a command ends: its exit code, and the one sentence that says why."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

FINE: Final = 0
NO_VENUE: Final = 1
BAD_INPUT: Final = 2
INTERNAL_FAILURE: Final = 3
INTERRUPTED: Final = 130

EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    the venue did not answer, or refused
  2    bad input or configuration, said in one sentence
  3    internal failure; or 'run' ended with a position that stays behind its stop at the venue
  130  stopped by Ctrl-C; what was written stays under a name with .partial
"""


def leave(code: int) -> NoReturn:
    """End the command with this code."""
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Turn what goes wrong into one sentence and an exit code."""
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        say("stopped by Ctrl-C; what was written stays under a name with .partial")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as problem:
        from engine.errors import RemoraError, VenueError

        if isinstance(problem, VenueError):
            say(str(problem))
            raise typer.Exit(NO_VENUE) from None
        if isinstance(problem, RemoraError) and problem.exit_code == BAD_INPUT:
            say(str(problem))
            raise typer.Exit(BAD_INPUT) from None
        if isinstance(problem, ImportError) and (problem.name or "").startswith("native."):
            say(f"the compiled core is not built: {problem.name} is missing; 'make build' makes it")
            raise typer.Exit(INTERNAL_FAILURE) from None
        import traceback

        traceback.print_exc()
        say(f"internal failure, please report it: {type(problem).__name__}: {problem}")
        raise typer.Exit(INTERNAL_FAILURE) from None


def say(sentence: str) -> None:
    """Print one sentence to stderr."""
    typer.echo(f"remora: {sentence.rstrip('.')}.", err=True)
