"""Open JupyterLab with `lepton` on the PATH of its terminals and cells, and one folder of runs for both."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def environment(given: Mapping[str, str], runs: Path) -> dict[str, str]:
    """What the server's kernels and terminals inherit. A folder of runs that the user names already is kept.

    >>> found = environment({"PATH": "/usr/bin", "LEPTON_RUNS_DIR": "/data/runs"}, Path("runs"))
    >>> found["PATH"].endswith(":/usr/bin"), found["LEPTON_RUNS_DIR"]
    (True, '/data/runs')
    """
    programs = str(Path(sys.executable).parent)
    return {
        **given,
        "PATH": f"{programs}{os.pathsep}{given.get('PATH', os.defpath)}",
        "LEPTON_RUNS_DIR": given.get("LEPTON_RUNS_DIR") or str(runs),
    }


def command(shell: str, arguments: Sequence[str]) -> list[str]:
    """The words that start the server. JupyterLab refuses an option that comes twice, so a caller's takes the place of ours.

    Terminals run a plain shell: a login shell, which Jupyter starts where it has no terminal itself, takes the PATH of
    the system (Debian's /etc/profile) and loses ours.

    >>> command("bash", ["--ip=0.0.0.0", "--no-browser"])[4:]
    ['--ServerApp.root_dir=...', '--ip=0.0.0.0', '--no-browser']
    """
    ours = {
        ("--ServerApp.terminado_settings",): json.dumps({"shell_command": [shell]}),
        ("--ServerApp.ip", "--ip"): "127.0.0.1",
        ("--ServerApp.root_dir", "--notebook-dir"): str(ROOT),
    }
    given = {word.partition("=")[0] for word in arguments}
    kept = [f"{names[0]}={value}" for names, value in ours.items() if given.isdisjoint(names)]
    return [sys.executable, "-m", "jupyterlab", *kept, *arguments]


def main() -> None:
    """Become the server."""
    shell = os.environ.get("SHELL") or shutil.which("bash") or "sh"
    os.execve(sys.executable, command(shell, sys.argv[1:]), environment(os.environ, ROOT / "runs"))


if __name__ == "__main__":
    main()
