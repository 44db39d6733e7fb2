"""`jayul`: choose the language, run the command, turn every mistake into one line and an exit code.

0: done. 1: something was found (corruption, a difference, a demo that missed). 2: wrong input; nothing was lost.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from jayul.app import texts
from jayul.app.texts import _


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    language = texts.choose(arguments)
    texts.setup(language)
    sys.exit(_run(_without_language(arguments), language))


def _without_language(arguments: Sequence[str]) -> list[str]:
    """Take `--lang` out, wherever it stands: it has been read."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--lang="):
            skip = False
        elif argument == "--lang":
            skip = True
        else:
            kept.append(argument)
    return kept


def _run(arguments: list[str], language: str) -> int:
    from jayul.app import commands, contracts, histories, imports, queries, show, uis, wires  # noqa: F401 - these add their commands
    from jayul.plant.errors import Refused, Unreachable
    from jayul.plant.journal import Diverged
    from jayul.project.problem import ManifestError
    from jayul.record.journal import Corrupt

    if language not in texts.LANGUAGES:
        return _fail(arguments, _("language '{lang}' is unknown; use en or ko").format(lang=language), 2)
    try:
        return commands.app(args=arguments or ["--help"], standalone_mode=False) or 0
    except typer.Exit as found:
        return found.exit_code
    except typer.TyperException as error:
        return _fail(arguments, f"{error.format_message()} ({_('see')} jayul --help)", 2)
    except ManifestError as error:
        return _fail(arguments, show.problem(error.problem), 2)
    except Corrupt as error:
        text = _("the journal is damaged from tick {tick} on ({where}: {what}); look with: jayul verify")
        return _fail(arguments, text.format(tick=max(error.tick, 0), where=error.segment, what=error.what), 1)
    except Diverged as error:
        return _fail(
            arguments, _("tick {tick} does not come out as recorded: {what}").format(tick=error.tick, what=error.what), 1
        )
    except (Refused, Unreachable) as error:
        return _fail(arguments, show.reason(error), 1 if isinstance(error, Unreachable) else 2)
    except OSError as error:
        text = _("the system says: {error}; nothing that was acknowledged is lost, the same command goes on")
        return _fail(arguments, text.format(error=f"{show.reason(error.strerror or error)} {error.filename or ''}".strip()), 1)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(arguments, _("interrupted"), 130)


def _fail(arguments: Sequence[str], text: str, code: int) -> int:
    from jayul.app.show import as_json

    print("jayul: " + " ".join(text.split()), file=sys.stderr)  # noqa: T201 - the one place that says what is wrong
    if "--json" in arguments:
        print(as_json({"error": text, "exit_code": code}))  # noqa: T201
    return code


if __name__ == "__main__":
    main()
