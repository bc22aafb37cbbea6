"""Completion in bash, zsh and fish: what may follow the words typed so far, and the scripts that ask for it."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

ASK = "__complete"
"""The word by which a shell's script asks; what follows are the words of the line, the last one perhaps half typed."""
FILES = ":files"
"""The answer where a file of the shell's own folder is meant."""
LIVE = ("pause", "stop", "scale", "set", "slow", "alert")
"""Verbs for runs that are under way."""
PATHS = ("config", "path", "input", "folder", "output", "csv", "runs_dir")
SCRIPTS = {
    "bash": """_lepton() {
  local IFS=$'\\n' line
  COMPREPLY=()
  for line in $(lepton __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null); do
    if [ "$line" = ":files" ]; then compopt -o default; return; fi
    COMPREPLY+=("${line%%$'\\t'*}")
  done
}
complete -F _lepton lepton
""",
    "zsh": """#compdef lepton
_lepton() {
  local -a found
  found=("${(@f)$(lepton __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "$found[1]" == ":files" ]]; then _files; return; fi
  found=("${(@)found//:/\\\\:}")
  found=("${(@)found//$'\\t'/:}")
  _describe -V lepton found
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
compdef _lepton lepton
""",
    "fish": """function __lepton
  set -l found (lepton __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)
  if test "$found[1]" = ":files"
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c lepton -f -k -a '(__lepton)'
""",
}


def script(options: argparse.Namespace) -> int:
    """Print the script of a shell."""
    print(SCRIPTS[options.shell], end="")
    return 0


def answer(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Print what may come next, a line each: the word, and after a tab what it is."""
    from lepton_kit.errors import LeptonError

    try:
        found = list(candidates(parser, words or [""]))
    except (LeptonError, OSError):  # nothing to offer; the command itself will say what is wrong
        found = []
    print("".join(f"{word}\t{text}\n" if text else f"{word}\n" for word, text in found), end="")
    return 0


def candidates(parser: argparse.ArgumentParser, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Words that may stand where the last one stands, each with a text; `FILES` alone where a file is meant."""
    given, last = list(words[:-1]), words[-1]
    runs_dir, verb, rest = _verb(parser, given)
    at = parser if verb is None else verb
    options = {name: action for action in at._actions for name in action.option_strings}
    if verb is None and rest is None:
        yield FILES, ""  # after --runs-dir
        return
    before = options.get(rest[-1]) if rest else None
    if before is not None and before.nargs != 0:
        yield from _values(before, at, runs_dir, last, ())
    elif last.startswith("-"):
        yield from sorted(_fitting(((name, _first(one.help)) for name, one in options.items()), last))
    elif verb is None:
        yield from _fitting(
            ((choice.dest, _first(choice.help)) for choice in _verbs(parser)._choices_actions), last
        )
    else:
        typed = list(_positionals(rest or [], options))
        places = [action for action in at._actions if not action.option_strings]
        if places:
            place = places[min(len(typed), len(places) - 1)]
            if len(typed) < len(places) or place.nargs in ("*", "+"):
                yield from _values(place, at, runs_dir, last, typed)


def _verbs(parser: argparse.ArgumentParser) -> Any:
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def _verb(
    parser: argparse.ArgumentParser, given: Sequence[str]
) -> tuple[str | None, argparse.ArgumentParser | None, list[str] | None]:
    """The folder of runs, the parser of the verb, and the words after it; no words where a folder is to come."""
    runs_dir, words = None, list(given)
    while words:
        word = words.pop(0)
        if word == "--runs-dir":
            if not words:
                return None, None, None
            runs_dir = words.pop(0)
        elif word.startswith("--runs-dir="):
            runs_dir = word.partition("=")[2]
        elif word in _verbs(parser).choices:
            for option, after in itertools.pairwise([*words, ""]):  # it may stand after the verb too
                if option == "--runs-dir":
                    runs_dir = after or runs_dir
                elif option.startswith("--runs-dir="):
                    runs_dir = option.partition("=")[2]
            return runs_dir, _verbs(parser).choices[word], words
    return runs_dir, None, []


def _positionals(words: Sequence[str], options: dict[str, Any]) -> Iterator[str]:
    """The words that are neither options nor the value of one."""
    value = False
    for word in words:
        action = options.get(word)
        if not value and not word.startswith("-"):
            yield word
        value = action is not None and action.nargs != 0


def _values(
    action: argparse.Action,
    parser: argparse.ArgumentParser,
    runs_dir: str | None,
    last: str,
    typed: Sequence[str],
) -> Iterator[tuple[str, str]]:
    if action.choices is not None:
        yield from _fitting(((str(choice), "") for choice in action.choices), last)
    elif action.metavar == "ID":
        found = list(_fitting(_runs(parser.prog.split()[-1], runs_dir), last))
        yield from (one for one in found if one[0] not in typed)
    elif action.dest in ("tags", "remove"):
        yield from _fitting(((tag, "tag") for tag in _tags(runs_dir)), last)
    elif action.dest == "sort":
        from lepton_kit.client.table import FIRST, LAST

        yield from _fitting(((name, "column") for name in (*FIRST, *LAST)), last)
    elif action.dest in PATHS:
        yield FILES, ""


def _runs(verb: str, runs_dir: str | None) -> Iterator[tuple[str, str]]:
    """Ids of runs that the verb takes, the newest first, with their state; from their small files alone."""
    from lepton_kit.errors import RunError
    from lepton_kit.rundir import Status, list_runs
    from lepton_kit.rundir.paths import TRASH, runs_folder

    folder = runs_folder(runs_dir)
    for paths in reversed(list_runs(folder / TRASH if verb == "restore" else folder)):
        try:
            status = Status(paths.read_status()["status"])
        except RunError:
            status = Status.UNKNOWN
        if verb not in LIVE or status.is_active:
            yield paths.id, str(status)


def _tags(runs_dir: str | None) -> list[str]:
    from lepton_kit.rundir import list_runs
    from lepton_kit.rundir.labels import read_labels

    return sorted({tag for paths in list_runs(runs_dir) for tag in read_labels(paths).tags})


def _fitting(known: Any, last: str) -> Iterator[tuple[str, str]]:
    return (one for one in known if one[0].startswith(last))


def _first(text: str | None) -> str:
    """The first sentence of a help text, on one line."""
    return " ".join((text or "").split()).split(". ")[0].rstrip(".")
