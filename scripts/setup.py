"""Make the project's own `.venv`: locked packages, Horovod, the native library and this project itself.

Needs nothing but a Python with its standard library. Each step keeps a key of what it depends on, so that a second
run does nothing. Run it with `--help` for the options.
"""

# The lines down to the version check must be understood by any Python 3, so that an old one can say that it is old.
# ruff: noqa: E402, UP031  (so imports follow that check, and texts are formatted with %)
import os
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)  # TensorFlow 2.21 has wheels up to 3.13 (looked up 2026-11)


def find_python():
    """The command of a Python that fits: the running one, else a newer or older one on the PATH, else None."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        command = shutil.which("python3.%d" % minor)
        if (
            command
            and subprocess.call([command, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            == 0
        ):
            return command
    return None


if not OLDEST <= sys.version_info[:2] <= NEWEST:
    _other = find_python()
    if _other is None:
        sys.exit(
            "lepton_kit needs Python 3.%d to 3.%d. This is Python %d.%d (%s), and no python3.%d … python3.%d that runs "
            "was found on the PATH. Install one (Debian: apt-get install python3.11 python3.11-venv) and name it: "
            "make lab PYTHON=/path/to/python3.11"
            % (
                OLDEST[1],
                NEWEST[1],
                sys.version_info[0],
                sys.version_info[1],
                sys.executable,
                OLDEST[1],
                NEWEST[1],
            )
        )
    os.execv(_other, [_other, *sys.argv])

import argparse
import fcntl
import hashlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LAB = ROOT / "lepton_kit" / "lab" / "labextension"
LOCK = ROOT / "requirements.lock"
TEST_LOCK = ROOT / "requirements-test.lock"
STAMP = VENV / "lepton-setup.json"
DISK_GB = 6  # the environment takes 3.5 GB, the Horovod build 0.3 GB, and the package cache as much again


class SetupError(Exception):
    """Set-up cannot go on; the text says what is missing and how to get it."""


def main() -> int:
    """Bring the environment up to date; returns the exit code."""
    options = _options()
    try:
        with (ROOT / ".setup.lock").open("w") as guard:  # two set-ups of one checkout take turns
            fcntl.flock(guard, fcntl.LOCK_EX)
            set_up(force=options.force, tests=options.tests)
    except SetupError as failure:
        print(f"\nset-up stopped: {failure}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--force", action="store_true", help="do every step again")
    parser.add_argument("--tests", action="store_true", help="add what only tests need")
    return parser.parse_args()


def set_up(*, force: bool, tests: bool = False) -> None:
    """Run the steps whose key changed, in order; a step that ran makes no other step run unless it must."""
    done = {} if force else read_stamp()
    python = venv_python()
    began = time.monotonic()
    if not done or not python.exists():
        check_machine()
        make_venv(python)
        done = {}
    ran = False
    for name, key, act, optional in _steps(tests):
        if done.get(name) == key:
            continue
        ran = True
        print(f"── set-up: {name}", flush=True)
        started = time.monotonic()
        try:
            act()
        except SetupError as failure:
            if not optional:
                raise
            print(f"warning: {failure}", file=sys.stderr)
        if (
            name == "packages"
        ):  # syncing removes whatever the lock does not name, so what follows is due again
            done = {}
        done[name] = key
        write_stamp(done)
        print(f"   {time.monotonic() - started:.1f} s", flush=True)
    if ran:
        print(f"── set-up done in {time.monotonic() - began:.0f} s: {VENV}", flush=True)


def _steps(tests: bool) -> Iterable[tuple[str, str, Callable[[], None], bool]]:
    native = ROOT / "lepton_kit" / "training" / "native"
    builder = ROOT / "scripts" / "build_horovod.py"
    gpu = os.environ.get("LEPTON_HOROVOD_GPU", "")
    more = (("test packages", key_of(LOCK, TEST_LOCK), add_test_packages, False),) if tests else ()
    return (
        ("packages", key_of(LOCK), install_packages, False),
        *more,
        ("horovod", key_of(LOCK, builder, text=gpu), install_horovod, False),
        ("project", key_of(ROOT / "pyproject.toml"), install_project, False),
        ("jupyterlab", key_of(Path(__file__), *LAB.parent.rglob("*.js*")), write_lab_files, False),
        (
            "native",
            key_of(LOCK, *native.glob("*.cc"), *native.glob("*.h"), *native.glob("*.py")),
            build_native,
            True,
        ),
    )


def key_of(*paths: Path, text: str = "") -> str:
    """A hash over the contents of files, the place of the checkout (environments can't be moved) and a text."""
    digest = hashlib.sha256(f"{ROOT}\0{text}\0".encode())
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def read_stamp() -> dict[str, str]:
    """The keys of the steps that were done, empty if there are none or the file is broken."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(done: dict[str, str]) -> None:
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(json.dumps(done, indent=1), encoding="utf-8")
    os.replace(temporary, STAMP)


def venv_python() -> Path:
    return VENV / "bin" / "python"


def check_machine() -> None:
    """Raise `SetupError` that names everything that is missing at once."""
    missing = []
    if not sys.platform.startswith("linux"):
        missing.append(f"Linux (this is {sys.platform}; on Windows, WSL 2 is a Linux)")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        missing.append(f"a C++ compiler ({compiler} is not on the PATH; Debian: apt-get install g++)")
    if subprocess.call([sys.executable, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL) != 0:
        minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
        missing.append(f"Python's venv module (Debian: apt-get install python{minor}-venv)")
    if python_headers() is None:
        missing.append("Python's C headers (Debian: apt-get install python3-dev)")
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < DISK_GB and not (VENV / "bin").exists():
        missing.append(f"disk space: {free_gb:.1f} GB free at {ROOT}, {DISK_GB} GB needed")
    if missing:
        raise SetupError("this machine lacks\n" + "\n".join(f"  - {entry}" for entry in missing))


def python_headers() -> Path | None:
    """The folder with Python.h, or None."""
    import sysconfig

    folder = Path(sysconfig.get_paths()["include"])
    return folder if (folder / "Python.h").exists() else None


def make_venv(python: Path) -> None:
    """Create the environment, or keep one whose Python runs and fits."""
    if python.exists() and subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        version = subprocess.run(
            [str(python), "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        if OLDEST <= (int(version[0]), int(version[1])) <= NEWEST:
            return
    print(f"── set-up: a new environment with Python {sys.version.split()[0]} in {VENV}", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", str(VENV)], "creating the environment failed")


def run(command: list[str], problem: str, environment: dict[str, str] | None = None) -> None:
    """Run a command with its output shown. Raises `SetupError` with `problem` when it fails."""
    result = subprocess.run(command, env=environment, cwd=ROOT)
    if result.returncode != 0:
        raise SetupError(f"{problem} (exit code {result.returncode} of: {' '.join(command)})")


def pip_install() -> list[str]:
    """The words of every ``pip install`` into the environment."""
    return [str(venv_python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def install_packages() -> None:
    """Make the environment hold exactly what the lock names, hashes checked; with uv, else with pip."""
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder) / "uv.txt"
        pinned.write_text(lock_entry("uv", LOCK.read_text(encoding="utf-8")), encoding="utf-8")
        run(
            [*hashed_install(), "-r", str(pinned)],
            "installing uv from the package index failed; is the network there, and does `pip download uv` work?",
        )
    install_lock("sync", LOCK)


def add_test_packages() -> None:
    """Add what only the tests need; the versions of the other packages stay, both locks name the same."""
    install_lock("install", TEST_LOCK)


def install_lock(verb: str, lock: Path) -> None:
    """``uv pip sync`` or ``install`` of a lock; where uv can't reach the index, pip with its own settings."""
    uv = [
        str(VENV / "bin" / "uv"),
        "pip",
        verb,
        "--python",
        str(venv_python()),
        "--require-hashes",
        "--quiet",
    ]
    uv += [str(lock)] if verb == "sync" else ["--requirement", str(lock)]
    if subprocess.run(uv, cwd=ROOT, env=uv_environment(dict(os.environ))).returncode == 0:
        return
    print(
        "   uv could not reach the index; pip, with its own settings, tries the same lock (slower)",
        flush=True,
    )
    # A package that the lock's resolver knows to work may still name an older Python as its newest.
    run(
        [*hashed_install(), "--ignore-requires-python", "-r", str(lock)],
        "installing the locked packages failed",
    )


def hashed_install() -> list[str]:
    """The words of a ``pip install`` of packages whose hashes are given, and of nothing else."""
    return [*pip_install(), "--require-hashes", "--no-deps"]


def lock_entry(name: str, lock: str) -> str:
    """The lines of one package in a lock: its pin and hashes.

    >>> lock_entry(
    ...     "b", "a==1 \\\\\\n    --hash=sha256:00\\nb==2 \\\\\\n    --hash=sha256:11\\n    # via c\\n"
    ... )
    'b==2 \\\\\\n    --hash=sha256:11\\n'
    """
    found = re.search(rf"^{re.escape(name)}==(?:[^\n]*\\\n)+[^\n]*\n", lock, re.MULTILINE)
    if found is None:
        raise SetupError(f"requirements.lock: no pinned {name} with hashes; renew it with `make lock`")
    return found.group()


def uv_environment(environment: dict[str, str]) -> dict[str, str]:
    """Tell uv the index that the environment tells pip, unless uv has its own.

    >>> uv_environment({"PIP_INDEX_URL": "https://example.org/simple"})["UV_DEFAULT_INDEX"]
    'https://example.org/simple'
    """
    translated = {
        "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
        "PIP_EXTRA_INDEX_URL": "UV_INDEX",
        "PIP_CERT": "SSL_CERT_FILE",
    }
    for pip_name, uv_name in translated.items():
        if pip_name in environment:
            environment.setdefault(uv_name, environment[pip_name])
    environment.pop("VIRTUAL_ENV", None)
    return environment


def install_horovod() -> None:
    """Build the Horovod wheel, or take it from the cache, and install it."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "wheel"
        builder = str(ROOT / "scripts" / "build_horovod.py")
        run([str(venv_python()), builder, "--answer", str(answer)], "building Horovod failed")
        wheel = answer.read_text(encoding="utf-8").strip()
    run([*pip_install(), "--no-index", "--no-deps", "--force-reinstall", wheel], "installing Horovod failed")


def install_project() -> None:
    """Install this checkout itself, editable, so that notebooks and the `lepton` command find it."""
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [*pip_install(), "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run(command, "installing this project failed", quiet)


def write_lab_files() -> None:
    """What JupyterLab finds in this environment: its defaults, the launcher card and the sidebar of runs."""
    write_lab_settings()
    write_lab_extension(VENV / "share" / "jupyter", VENV / "etc" / "jupyter")


def write_lab_extension(share: Path, etc: Path) -> None:
    """Put the extension below ``share``, and what has a server load its part below ``etc``."""
    target = share / "labextensions" / "lepton-kit-lab"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(LAB, target)
    folder = etc / "jupyter_server_config.d"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LAB.parent / "lepton_kit.json", folder / "lepton_kit.json")


def write_lab_settings() -> None:
    """Defaults for JupyterLab in this environment only; a user's own settings win.

    Comms over subshells are off, because after a page reload they leave widgets without working buttons
    (JupyterLab 4.6 with ipykernel 7.4, tried 2026-11); news and update questions would cover the notebook.
    """
    settings = {
        "@jupyterlab/apputils-extension:kernels-settings": {"commsOverSubshells": "disabled"},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    folder = VENV / "share" / "jupyter" / "lab" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "overrides.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def build_native() -> None:
    """Build the native collective; without it Horovod's own allreduce does the work."""
    if not (ROOT / "lepton_kit" / "training" / "native").is_dir():
        return
    run(
        [str(venv_python()), "-m", "lepton_kit.training.native"],
        "the native library was not built; Horovod's own allreduce is used instead, more slowly",
    )


if __name__ == "__main__":
    sys.exit(main())
