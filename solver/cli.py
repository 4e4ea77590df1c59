"""The `shardproof` command: one verb per question. A verb's module is imported when the verb is used."""

from __future__ import annotations

import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

VERBS: dict[str, str] = {
    "solve": "Find the plan with the fewest GPUs and prove it.",
    "audit": "Judge every claim of a hand-written plan.",
    "compare": "Set plans beside the proven optimum.",
    "verify": "Check a certificate without trusting the solver.",
    "explain": "Say why fewer GPUs are impossible.",
    "sensitivity": "Say how far inputs may worsen before the answer changes.",
    "place": "Decide where every expert lives.",
    "batch": "Solve many instances across models, devices and limits.",
    "report": "Write a batch run as one HTML page.",
    "page": "Plan in the browser: answers as you type.",
    "predict": "Predict times and memory of a given plan.",
    "export": "Write a plan as the files of an engine or a cluster.",
    "bench": "Write the lines that measure a plan as planned.",
    "check": "Hold measurements or a start log against a plan.",
    "simulate": "Play a plan in service, event by event.",
    "calibrate": "Measure this machine's GPU and fit its curves.",
    "catalog": "List and show the models and devices known.",
    "schema": "Print the JSON Schema of a document.",
    "doctor": "Say what is installed, what is missing, what the machine has.",
}


class Verbs(click.Group):
    """A group whose commands live in ``shardproof.solver.commands.<verb>`` and are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a user's questions."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb's command; an unknown verb is answered with the nearest ones."""
        if cmd_name not in VERBS:
            ctx.fail(f"no verb {cmd_name!r}; known: {', '.join(VERBS)}")
        command: click.Command = importlib.import_module(f"shardproof.solver.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def _show_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        import shardproof

        click.echo(f"shardproof, version {shardproof.__version__}")
        context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
def application() -> None:
    """Plan LLM serving deployments with provably the fewest GPUs.

    \b
    Example:
      shardproof solve instances/cases/qwen3-235b-a22b.yaml
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; what a user did wrong ends in one message and exit code 2, what we did in 70."""
    from shardproof.instances.errors import CheckFailed, InputError

    try:
        sys.exit(_answer(arguments))
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        _tell(shown.getvalue())
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _tell("interrupted")
        sys.exit(130)
    except InputError as error:
        _tell(f"error: {error}")
        sys.exit(2)
    except CheckFailed as error:
        _tell(f"check failed: {error}")
        sys.exit(4)
    except OSError as error:
        sys.exit(_unwritten(error))
    except Exception as error:  # whatever else: a fault of ours, which must not look like an answer
        sys.exit(_internal(error))


def _tell(message: str) -> None:
    from shardproof.solver.commands.printing import tell

    tell(message)


def _internal(error: Exception) -> int:
    """Return the exit code of a fault of ours (EX_SOFTWARE of sysexits.h), and say in one line what it is."""
    if os.environ.get("SHARDPROOF_DEBUG"):
        traceback.print_exception(error)
    said = " ".join(str(error).split()) or "no message"
    hint = "please report it; SHARDPROOF_DEBUG=1 shows where"
    _tell(f"internal error: {type(error).__name__}: {said} ({hint})")
    return 70


def _answer(arguments: Sequence[str] | None) -> int:
    try:
        code = application.main(args=arguments, prog_name="shardproof", standalone_mode=False)
    except SystemExit as error:
        if error.code == 1:  # click and rich end so when the reader of stdout has left; verbs never use 1 here
            raise BrokenPipeError from None
        code = error.code
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _unwritten(error: OSError) -> int:
    """Return the exit code of an output that could not be written, and say which unless its reader has left."""
    if error.filename is None:
        # What is still buffered must go somewhere, or the interpreter complains of it while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 141
    _tell(f"error: {error.filename or 'stdout'}: cannot be written ({error.strerror})")
    return 2


if __name__ == "__main__":
    main()
