"""Renew `requirements.lock` and `requirements-test.lock` from pyproject.toml, and `environment.yml` from the lock."""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
TEST_LOCK = ROOT / "requirements-test.lock"
EXTRAS = ("compression", "fpga", "onnx", "build", "dev")
TEST_EXTRAS = (
    *("text", "matlab", "parquet", "excel", "sql", "polars", "large", "zarr", "remote", "medical"),
    *("tensorboard", "spark"),
)
"""What the tests need beside it: `make test` adds these, so that the set-up of a person who trains stays light."""
PYTHON = "3.11"


def compile_lock(lock: Path, names: tuple[str, ...], upgrade: bool, under: Path | None = None) -> str:
    """The text of a lock: every Python from 3.11 on, every platform, with hashes, naming no index.

    ``under`` is a lock whose versions this one repeats.
    """
    extras = [argument for extra in names for argument in ("--extra", extra)]
    extras += ["--constraint", str(under)] if under else []
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / lock.name
        if lock.exists() and not upgrade:
            draft.write_text(lock.read_text(encoding="utf-8"), encoding="utf-8")
        command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--universal"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--python-version", PYTHON, *extras]
        command += ["--output-file", str(draft), str(ROOT / "pyproject.toml")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return draft.read_text(encoding="utf-8")


def pins(lock: str) -> dict[str, str]:
    """Package to version for Python 3.11 on Linux; where the lock forks, the branch without a newer Python.

    >>> pins("numpy==2.4.6 ; python_full_version < '3.12' \\\\\\n")
    {'numpy': '2.4.6'}
    """
    found: dict[str, str] = {}
    for name, version, marker in re.findall(
        r"^([A-Za-z0-9_.-]+)==([^\s;]+)(?: ; (.*?))?\s*\\?$", lock, re.MULTILINE
    ):
        if not re.search(r"python_full_version >= '3\.(1[2-9])|sys_platform == 'win32'", marker):
            found[normal(name)] = version
    return found


def normal(name: str) -> str:
    """A package's normalised name.

    >>> normal("types-PyYAML")
    'types-pyyaml'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def direct(project: dict) -> list[str]:
    """Names of the packages that pyproject.toml itself asks for, in its order."""
    entries = list(project["dependencies"])
    for extra in EXTRAS:
        entries += project["optional-dependencies"][extra]
    return [normal(re.match(r"[A-Za-z0-9_.-]+", entry).group()) for entry in entries]


def environment(lock: str, project: dict) -> str:
    """The text of environment.yml: conda for Python and compilers, pip for what the project asks for."""
    locked = pins(lock)
    lines = [
        "# For conda users; written by `make lock`, held against requirements.lock by a test.",
        "#   conda env create --file environment.yml && conda activate lepton_kit",
        '#   python scripts/build_horovod.py --answer wheel.txt && pip install --no-deps "$(cat wheel.txt)"',
        "#   pip install --no-deps --no-build-isolation --editable .",
        "name: lepton_kit",
        "channels:",
        "  - conda-forge",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - gxx_linux-64",
        "  - make",
        f"  - pip={locked['pip']}",
        "  - pip:",
    ]
    lines += [f"      - {name}=={locked[name]}" for name in direct(project) if name != "pip"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = compile_lock(LOCK, EXTRAS, options.upgrade)
    LOCK.write_text(lock, encoding="utf-8")
    TEST_LOCK.write_text(
        compile_lock(TEST_LOCK, (*EXTRAS, *TEST_EXTRAS), options.upgrade, LOCK), encoding="utf-8"
    )
    (ROOT / "environment.yml").write_text(environment(lock, project), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
