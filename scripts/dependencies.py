"""Check what the project depends on: locks, licences, and, with ``--online``, withdrawn versions and known weaknesses.

    python scripts/dependencies.py            # a step of `make lint`: no network
    python scripts/dependencies.py --online   # `make audit`: asks the package index and its advisory service

Ends with 1 if something is wrong, and with 3 where nothing is known to be wrong but not all could be asked.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from lock import LOCK, ROOT, TEST_LOCK, normal, pins

ALLOWED = frozenset(
    [
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "CNRI-Python",
        "HPND",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    ]
)
"""Licences that ask for little more than that their text stays (SPDX's names); MPL's files stay open, ours are free."""
EXCEPTIONS = {
    "alkaid": "LGPL-3.0-or-later",  # used as it is published, by the FPGA part alone
    "quantizers": "LGPL-3.0-only",  # the same; hls4ml's
}
NAMES = {
    r"apache.*": "Apache-2.0",
    r"(the )?mit( license)?|mit/expat": "MIT",
    r"(3-clause )?bsd( license)?|new bsd( license)?": "BSD-3-Clause",
    r"isc license.*": "ISC",
    r"mozilla public license 2\.0.*": "MPL-2.0",
    r"python software foundation license": "PSF-2.0",
    r"gnu lesser general public license v3 \(lgplv3\)": "LGPL-3.0-only",
    r"historical permission notice.*": "HPND",
}
"""How packages name licences that have no name of SPDX's in their metadata."""
PIN = re.compile(r"^[A-Za-z0-9_.-]+==[^\s;]+(?: ; .*?)?\s*\\$")
UNKNOWN = 3

Asked = Callable[[list[str]], subprocess.CompletedProcess[str]]


def loose(lock: str) -> list[str]:
    """The entries of a lock that do not name one version with at least one hash.

    >>> loose("a==1 \\\\\\n    --hash=sha256:0\\nb>=2\\nc==3\\n")
    ['b>=2', 'c==3']
    """
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    entries = [place for place, line in enumerate(lines) if not line.startswith(" ")]
    found = []
    for place in entries:
        hashed = place + 1 < len(lines) and lines[place + 1].strip().startswith("--hash=sha256:")
        if not (PIN.match(lines[place]) and hashed):
            found.append(lines[place])
    return found


def licences(name: str) -> list[str]:
    """What a package that is installed says of its licence: SPDX's names, or its own words. Empty if it says nothing."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return [_accepted(part.strip("() ")) for part in expression.split(" AND ")]
    said = [
        one.rpartition(" :: ")[2] for one in about.get_all("Classifier", []) if one.startswith("License ::")
    ]
    if not said and (text := (about.get("License") or "").strip()):
        said = text.splitlines()[0].split(" AND ")
    if not said:
        files = [one for one in metadata.files(name) or [] if re.match(r"LICEN[CS]E", one.name)]
        said = [_title(one.read_text()) for one in files[:1]]
    return [_named(one.strip()) for one in said]


def _title(text: str) -> str:
    """The licence that a text names first, else its first line."""
    known = re.search(r"apache license|mit license", text.lower())
    return known.group() if known else next(iter(text.strip().splitlines()), "")


def _accepted(choice: str) -> str:
    """Of a licence or several to choose from, the first that is allowed."""
    choices = choice.split(" OR ")
    return next((one for one in choices if one in ALLOWED), choices[0])


def _named(said: str) -> str:
    if said in ALLOWED:
        return said
    return next((name for words, name in NAMES.items() if re.fullmatch(words, said.lower())), said)


def unwanted(names: Iterable[str]) -> list[str]:
    """A line for each package whose licence is on no list; those that are not installed here are passed over."""
    found = []
    for name in names:
        try:
            said = licences(name)
        except metadata.PackageNotFoundError:
            continue
        if not said:
            found.append(f"{name}: says nothing of its licence")
        for one in said:
            if one not in ALLOWED and EXCEPTIONS.get(normal(name)) != one:
                found.append(
                    f"{name}: {one}; allowed are {', '.join(sorted(ALLOWED))}, and exceptions by name"
                )
    return found


def offline() -> list[str]:
    """What is wrong with both locks and with the licences of what is installed."""
    texts = {lock.name: lock.read_text(encoding="utf-8") for lock in (LOCK, TEST_LOCK)}
    wrong = [
        f"{name}: {entry}: no single version with a hash" for name in texts for entry in loose(texts[name])
    ]
    return wrong + unwanted([*pins(texts[TEST_LOCK.name]), "horovod"])


def ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run uv's command; its environments are made for it and thrown away."""
    program = str(Path(sys.executable).parent / "uv")
    return subprocess.run([program, *command], cwd=ROOT, capture_output=True, text=True)


def withdrawn(lock: Path, ask: Asked) -> tuple[list[str], str | None]:
    """Versions of a lock that their authors have withdrawn, and why not all could be asked, if so."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["pip", "install", "--dry-run", "--no-deps", "--reinstall", "--target", folder]
        done = ask([*command, "--requirement", str(lock)])
    found = re.findall(r"^warning: (`\S+` is yanked.*)$", done.stderr, re.MULTILINE)
    wrong = [f"{lock.name}: {one}" for one in found]
    return wrong, None if done.returncode == 0 else f"the package index can't be asked: {_last(done.stderr)}"


def weaknesses(lock: Path, ask: Asked) -> tuple[list[str], str | None]:
    """Known weaknesses of a lock's versions by pip-audit, and why not all could be looked up, if so.

    pip-audit itself is content where the service knows none of the packages: then nothing was looked up.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [
            "tool",
            "run",
            "pip-audit",
            "--requirement",
            str(lock),
            "--require-hashes",
            "--disable-pip",
        ]
        done = ask([*command, "--progress-spinner", "off", "--format", "json", "--output", str(answer)])
        try:
            told = json.loads(answer.read_text(encoding="utf-8"))["dependencies"]
        except (OSError, ValueError, KeyError):
            return [], f"the advisory service can't be asked: {_last(done.stderr)}"
    wrong = [
        f"{lock.name}: {one['name']} {one['version']}: {weakness['id']}"
        + (f", mended in {weakness['fix_versions'][0]}" if weakness.get("fix_versions") else "")
        for one in told
        for weakness in one.get("vulns", [])
    ]
    skipped = [one for one in told if "skip_reason" in one]
    if not skipped:
        return wrong, None
    first = skipped[0]
    return wrong, (
        f"the advisory service knew nothing of {len(skipped)} of {len(told)} packages; of {first['name']}: "
        f"{first['skip_reason']}"
    )


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]


def online(ask: Asked) -> tuple[list[str], list[str]]:
    """(what is wrong, why not all could be asked) by the index and the advisory service; the tests' lock holds both."""
    asked = [withdrawn(TEST_LOCK, ask), weaknesses(TEST_LOCK, ask)]
    return [line for wrong, _ in asked for line in wrong], [why for _, why in asked if why is not None]


def main(arguments: list[str] | None = None, ask: Asked = ask) -> int:
    """Say what is wrong and what is not known; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--online", action="store_true", help="ask the package index and the advisory service too"
    )
    wrong, unknown = offline(), list[str]()
    if parser.parse_args(arguments).online:
        more, unknown = online(ask)
        wrong += more
    for line in wrong:
        print(line)
    for line in unknown:
        print(f"not known: {line}")
    if not wrong and not unknown:
        print("every entry of both locks is one version with hashes, under a licence of the list")
    return 1 if wrong else UNKNOWN if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
