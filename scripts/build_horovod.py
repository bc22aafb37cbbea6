"""Build the Horovod wheel for the TensorFlow of this environment, or find it in the cache.

Run it with the environment's own Python. Horovod 0.28.1 (its last release, 2023-06) is built with two patches:

- It lists one source file that no longer compiles against TensorFlow 2.19 and later, because their wheels lack the XLA
  headers it includes. It only registers XLA kernels that nothing here calls, so its line in the build list is dropped.
- The ring of a process set listens on the interface that its own, still empty field names instead of the one that was
  asked for (`HOROVOD_GLOO_IFACE`). Where a host's own name means 127.x, as on Debian, ranks on other hosts then find
  nobody. One line gives it the interface of the global ring.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

VERSION = "0.28.1"
SDIST_SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"


class Patch(NamedTuple):
    """One change of one file; ``pattern`` stands there exactly once, ``place`` says in words where."""

    file: str
    place: str
    pattern: str
    replacement: str


PATCHES = (
    Patch(
        "horovod/tensorflow/CMakeLists.txt",
        "line that lists xla_mpi_ops.cc",
        r"^list\(APPEND TF_SOURCES [^\n]*xla_mpi_ops\.cc[^\n]*\)\n",
        "",
    ),
    Patch(
        "horovod/common/gloo/gloo_context.cc",
        "beginning of InitializeForProcessSet",
        r"(void GlooContext::InitializeForProcessSet\([^{]*\{\n)",
        r"\1  gloo_iface_ = global_context.gloo_iface_;\n",
    ),
    Patch(
        "horovod/common/operations.cc",
        "set-up of Gloo in BackgroundThreadLoop",
        r"(?s)(#if HAVE_GLOO\n)(#if HAVE_MPI\n  if \(global_mpi_context\.IsEnabled\(\)\) \{\n    // Initialize gloo.*?)(#endif // HAVE_GLOO\n)",
        r"""\1  try {
\2  } catch (const std::exception& failure) {
    LOG(ERROR) << "Horovod could not be initialized: " << failure.what();
    state.process_set_table.Get(0).Finalize(SHUT_DOWN_ERROR);
    global_gloo_context.Finalize();
    state.initialization_failed = true;
    return;
  }
\3""",
    ),
    Patch(
        "horovod/common/operations.cc",
        "beginning of InitializeHorovodOnce",
        r"(    horovod_global\.initialization_done = false;\n)(    horovod_global\.background_thread =\n)",
        r"\1    horovod_global.initialization_failed = false;\n\2",
    ),
)
BUILD_SETTINGS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
    "CMAKE_POLICY_VERSION_MINIMUM": "3.5",  # CMake 4 refuses the minimum that the bundled Gloo asks for
}
RECIPE = (SDIST_SHA256, *(part for one in PATCHES for part in (one.file, one.pattern, one.replacement)))
"""What is built, apart from the settings: another source or patch is another wheel."""


class BuildError(Exception):
    """The wheel cannot be built; the text says what was wrong."""


def main() -> int:
    """Print (or write to `--answer`) the path of a wheel that fits this environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--answer", type=Path, help="write the wheel's path to this file")
    parser.add_argument("--rebuild", action="store_true", help="build even if a wheel is in the cache")
    options = parser.parse_args()
    try:
        wheel = find_or_build(rebuild=options.rebuild)
    except BuildError as failure:
        print(f"Horovod {VERSION}: {failure}", file=sys.stderr)
        return 1
    print(f"   {wheel}")
    if options.answer:
        options.answer.write_text(str(wheel), encoding="utf-8")
    return 0


def find_or_build(*, rebuild: bool = False) -> Path:
    """The wheel of this environment's key, from the cache or built into it under a lock."""
    settings = dict(BUILD_SETTINGS)
    if wants_nccl(os.environ.get("LEPTON_HOROVOD_GPU", "")):
        settings["HOROVOD_GPU_OPERATIONS"] = "NCCL"
    shelf = cache_folder() / "horovod"
    folder = shelf / cache_key(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        ready = sorted(folder.glob("horovod-*.whl"))
        if ready and not rebuild:
            return ready[0]
        with tempfile.TemporaryDirectory(prefix=".build-", dir=shelf) as scratch:
            built = build(Path(scratch), settings)
            target = folder / built.name
            os.replace(built, target)
    return target


def wants_nccl(choice: str) -> bool:
    """Whether to build Horovod's GPU operations on NCCL; only when asked, and never tried on a GPU so far.

    >>> wants_nccl("nccl"), wants_nccl("")
    (True, False)
    """
    if choice not in ("", "none", "nccl", "auto"):
        raise BuildError(f"LEPTON_HOROVOD_GPU: got {choice!r}; expected none, nccl or auto")
    if choice == "auto":
        headers = [Path(folder) / "nccl.h" for folder in ("/usr/include", "/usr/local/cuda/include")]
        return bool(
            shutil.which("nvcc") and shutil.which("nvidia-smi") and any(path.exists() for path in headers)
        )
    return choice == "nccl"


def cache_folder() -> Path:
    """Outside the checkout, so that a fresh clone finds what an earlier one built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lepton_kit"


def cache_key(settings: dict[str, str]) -> str:
    """What the wheel's bits depend on, in words and a hash over all of it."""
    try:
        tensorflow = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        raise BuildError(
            "TensorFlow is not installed in this environment, and Horovod compiles against it"
        ) from None
    parts = [
        VERSION,
        sys.implementation.cache_tag,
        f"tensorflow-{tensorflow}",
        sysconfig.get_platform(),
        "-".join(platform.libc_ver()),
        f"c++{compiler_major()}",
        repr(sorted(settings.items())),
        *RECIPE,
    ]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    return f"{parts[1]}-{parts[2]}-{parts[3]}-{parts[5]}-{digest}"


def compiler_major() -> str:
    """The major version of the C++ compiler that CMake will take."""
    compiler = os.environ.get("CXX", "g++")
    try:
        answer = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise BuildError(f"no C++ compiler: {compiler} does not run (Debian: apt-get install g++)") from None
    return answer.stdout.strip().split(".")[0]


def build(scratch: Path, settings: dict[str, str]) -> Path:
    """Download, check, patch and compile in an empty folder; returns the wheel."""
    print(f"   building Horovod {VERSION} from source: once per Python and TensorFlow, minutes", flush=True)
    source = unpack(download(scratch), scratch)
    for one in PATCHES:
        patch(source, one)
    environment = {**os.environ, **settings}
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
    log = scratch.parent / "build.log"
    command = pip("wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--verbose")
    with log.open("w") as output:
        result = subprocess.run(
            [*command, "--wheel-dir", str(scratch / "out"), str(source)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    wheels = list((scratch / "out").glob("horovod-*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise BuildError(f"the build failed; its last lines are below, all of it is in {log}\n{tail}")
    return wheels[0]


def pip(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]


def download(scratch: Path) -> Path:
    """The source archive as published, its hash checked before anything in it is run by the build."""
    folder = scratch / "sdist"
    command = pip("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation")
    requirement = scratch / "horovod.txt"
    requirement.write_text(f"horovod=={VERSION} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    result = subprocess.run([*command, "--require-hashes", "--dest", str(folder), "-r", str(requirement)])
    archive = folder / f"horovod-{VERSION}.tar.gz"
    if result.returncode != 0 or not archive.exists():
        raise BuildError(
            "its source could not be downloaded from the package index, or its hash is not the known one"
        )
    check_hash(archive)
    return archive


def check_hash(archive: Path) -> None:
    """Raise `BuildError` unless the file is the one that was published."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SDIST_SHA256:
        raise BuildError(f"{archive.name}: its SHA-256 is {found}; expected {SDIST_SHA256}")


def unpack(archive: Path, scratch: Path) -> Path:
    with tarfile.open(archive) as content:
        # Pythons before 3.11.4 have no filter and look at no attribute; the archive's hash is known in any case.
        content.extraction_filter = getattr(tarfile, "data_filter", None)
        content.extractall(scratch)
    return scratch / f"horovod-{VERSION}"


def patch(source: Path, change: Patch) -> None:
    """Change a file of the source. Raises `BuildError` unless what is changed stands there exactly once."""
    path = source / change.file
    text, count = re.subn(
        change.pattern, change.replacement, path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    if count != 1:
        raise BuildError(f"{path.name}: expected exactly one {change.place}, found {count}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
