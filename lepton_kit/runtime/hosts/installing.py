"""Puts the locked environment on a host over ssh: built beside what is there, taken at once when it is whole, and resumable.

An environment lies in ``~/.local/share/lepton_kit/envs/KEY``, where the key stands for the locked packages and this
very code; ``env`` beside it is a link to the one in use. Packages come from the host's package index, or from this
machine's own environment, file by file, for a host without a network of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Literal

from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec
from lepton_kit.runtime.hosts.launchers import SSH_OPTIONS, ssh
from lepton_kit.runtime.hosts.versions import code
from lepton_kit.training import native

Packages = Literal["index", "here"]
Tell = Callable[[str], None]
SHARE = "$HOME/.local/share/lepton_kit"
PACKAGE = Path(__file__).resolve().parents[2]
PROJECT = PACKAGE.parent
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
DISK_BYTES = 5 * 10**9
"""The environment takes 3.5 GB (measured 2026-11)."""
MEGABYTE = 10**6
PROBE = f"""
share="{SHARE}"; mkdir -p "$share/envs"; chmod 700 "$share"
for python in {PYTHON} {shlex.quote(f"{sys.base_exec_prefix}/bin/{PYTHON}")} "$HOME"/.local/share/uv/python/*/bin/{PYTHON} python3; do
  "$python" -c 'import sys, venv; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})' 2>/dev/null &&
    echo "python $(command -v "$python")" && break
done
for uv in uv "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do command -v "$uv" >/dev/null && echo "uv $(command -v "$uv")" && break; done
echo "machine $(uname -m)"
echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null)"
echo "free $(df -Pk "$share" | awk 'END {{print $4 * 1024}}')"
echo "env $(basename "$(readlink "$share/env" 2>/dev/null)")"
cd "$share/envs"; for one in */.complete; do [ -e "$one" ] && echo "complete $(dirname "$one")"; done; true
"""
SITE = f'"$new"/lib/{PYTHON}/site-packages'


@dataclass(frozen=True)
class Bare:
    """A host as it is before: where a fitting Python and uv are, its kind, free bytes, and environments that are whole."""

    machine: str
    libc: tuple[int, ...]
    free_bytes: int
    python: str | None = None
    uv: str | None = None
    env: str = ""
    complete: tuple[str, ...] = ()

    @classmethod
    def of(cls, lines: list[str]) -> Bare:
        """From what `PROBE` prints.

        >>> Bare.of(["machine x86_64", "libc glibc 2.36", "free 7000", "complete a-b"]).libc
        (2, 36)
        """
        pairs = [line.partition(" ")[::2] for line in lines]
        said = dict(pairs)
        version = said.get("libc", "").rpartition(" ")[2]
        return cls(
            machine=said.get("machine", ""),
            libc=tuple(int(part) for part in version.split(".") if part.isdigit()),
            free_bytes=int(float(said.get("free") or 0)),
            python=said.get("python"),
            uv=said.get("uv"),
            env=said.get("env", ""),
            complete=tuple(value for name, value in pairs if name == "complete"),
        )

    def fits(self, here: Bare) -> bool:
        """Whether libraries that were compiled here run there: the same processor, and no older C library."""
        return self.machine == here.machine and self.libc >= here.libc > ()


class Shell:
    """Runs scripts on a host."""

    def __init__(self, host: HostSpec, tell: Tell):
        self.host, self._tell = host, tell

    def run(
        self, script: str, send: bytes | Callable[[IO[bytes]], None] | None = None, *, show: bool = True
    ) -> list[str]:
        """The lines that a script prints, shown as they come. Raises `RunError` with its last words."""
        command = [
            *ssh(),
            *SSH_OPTIONS,
            "--",
            self.host.name,
            f"exec sh -c {shlex.quote('set -e' + chr(10) + script)}",
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if send is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            lines: list[str] = []
            listening = threading.Thread(target=self._listen, args=(process.stdout, lines, show), daemon=True)
            listening.start()
            # A script that has ended meanwhile says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if isinstance(send, bytes) and process.stdin is not None:
                    process.stdin.write(send)
                elif callable(send) and process.stdin is not None:
                    send(process.stdin)
                if process.stdin is not None:
                    process.stdin.close()
            code = process.wait()
            listening.join()
        if code != 0:
            raise RunError(f"{self.host.name}: {' · '.join(lines[-6:]) or f'ssh ended with code {code}'}")
        return lines

    def _listen(self, output: IO[bytes], lines: list[str], show: bool) -> None:
        for line in output:
            lines.append(line.decode(errors="replace").rstrip())
            if show and lines[-1]:
                self._tell(f"{self.host.name}:   {lines[-1]}")


class Install:
    """One installation on one host. Steps that were done before are passed over."""

    def __init__(self, host: HostSpec, packages: Packages, tell: Tell):
        self._host, self._packages, self._tell = host, packages, tell
        self._shell = Shell(host, tell)

    def run(self) -> str:
        """Do what is lacking; returns what was done in words. Raises `RunError`."""
        name = self._host.name
        there, here = Bare.of(self._shell.run(PROBE, show=False)), this_machine()
        fits = there.fits(here)
        self._refuse(there, here, fits)
        locked, key = self._key()
        if key in there.complete and there.env == key:
            return f"{name}: has this environment ({key})"
        self._prepare = f'share="{SHARE}"; new="$share/envs/{key}"; cd "$share"; '
        like = next((one for one in there.complete if one.startswith(f"{locked}-") and one != key), None)
        if key not in there.complete:
            self._step("python", lambda: self._make(there, like))
            if like is None and self._packages == "here":
                self._step("packages", self._send_packages)
            elif like is None:
                self._step("packages", lambda: self._install_packages(there, fits))
                self._step("horovod", self._send_horovod if fits else self._build_horovod)
            self._step("lepton_kit", self._send_project)
            self._step("native library", lambda: self._put_native(fits))
            self._step("check", self._check)
        self._shell.run(
            f'{self._prepare} touch "$new/.complete"; ln -sfn "envs/{key}" env.new; mv -Tf env.new env'
        )
        return f"{name}: installed ({key})"

    def _refuse(self, there: Bare, here: Bare, fits: bool) -> None:
        name = self._host.name
        if there.free_bytes < DISK_BYTES and not there.complete:
            raise RunError(
                f"{name}: {there.free_bytes / 1e9:.1f} GB are free in its home, {DISK_BYTES / 1e9:.0f} GB are needed"
            )
        if self._packages == "here":
            if not fits:
                raise RunError(
                    f"{name}: is {there.machine} with C library {_dotted(there.libc)}, here {here.machine} with "
                    f"{_dotted(here.libc)}: this machine's packages don't run there; take them from the package index"
                )
            if there.python is None:
                raise RunError(f"{name}: has no {PYTHON}, which these packages are for; install it there")
        elif there.python is None and there.uv is None and not fits:
            raise RunError(f"{name}: has neither {PYTHON} nor uv; install one of them there")

    def _key(self) -> tuple[str, str]:
        """What stands for the packages, and for packages and code."""
        if self._packages == "here":
            installed = sorted(f"{one.name}=={one.version}" for one in metadata.distributions())
            about = "\n".join(installed)
        else:
            lock = PROJECT / "requirements.lock"
            if not lock.is_file():
                raise RunError(
                    f"{lock}: is not there; install from a checkout of the project, or packages from here"
                )
            about = lock.read_text(encoding="utf-8") + (PROJECT / "scripts" / "build_horovod.py").read_text()
        locked = hashlib.sha256(f"{self._packages}\0{PYTHON}\0{about}".encode()).hexdigest()[:10]
        return locked, f"{locked}-{code()}"

    def _step(self, name: str, act: Callable[[], None]) -> None:
        marker = f'"$new/.done-{name.replace(" ", "-")}"'
        if self._shell.run(f"{self._prepare} [ -e {marker} ] && echo done || true", show=False) == ["done"]:
            return
        self._tell(f"{self._host.name}: {name}")
        act()
        self._shell.run(f"{self._prepare} touch {marker}")

    # ------------------------------------------------------------------ steps

    def _make(self, there: Bare, like: str | None) -> None:
        if like is not None:  # the same packages, other code: the files are shared
            part = f'"$new.part"; cp -al "envs/{like}" "$new.part"; cd "$new.part"'
            # Files of its own: a lock or a marker that two environments shared would be one lock.
            own = ".complete .in-use .done-lepton_kit .done-native-library .done-check check.log"
            old = f"{own} lib/{PYTHON}/site-packages/lepton_kit"
            script = f'rm -rf "$new" {part}; rm -rf {old}; cd ..; mv "$new.part" "$new"'
        elif there.python is not None:
            script = f'{shlex.quote(there.python)} -m venv --without-pip "$new"'
        else:
            uv = self._uv(there)
            script = f'{uv} venv --quiet --python {PYTHON.removeprefix("python")} "$new"'
        self._shell.run(f"{self._prepare} {script}")

    def _uv(self, there: Bare) -> str:
        """The uv of the host, or this machine's, brought there."""
        if there.uv is not None:
            return shlex.quote(there.uv)
        mine = Path(sys.prefix) / "bin" / "uv"
        if not mine.is_file():
            raise RunError(f"{self._host.name}: has no uv, and neither has this environment")
        put = f"{self._prepare} mkdir -p bin; [ -x bin/uv ] || {{ cat > bin/uv.new; chmod 700 bin/uv.new; mv bin/uv.new bin/uv; }}"
        self._shell.run(put, mine.read_bytes())
        return '"$share/bin/uv"'

    def _install_packages(self, there: Bare, fits: bool) -> None:
        lock = (PROJECT / "requirements.lock").read_bytes()
        self._shell.run(f'{self._prepare} cat > "$new/requirements.lock"', lock)
        pip = (
            '"$new/bin/python" -m ensurepip --default-pip >/dev/null && "$new/bin/python" -m pip install --quiet '
            '--require-hashes --no-deps --ignore-requires-python -r "$new/requirements.lock"'
        )
        if there.uv is None and not fits:
            self._shell.run(f"{self._prepare} {pip}")
            return
        self._prepare += (
            'export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-https://pypi.org/simple}}"; '
        )
        sync = f'{self._uv(there)} pip sync --python "$new/bin/python" --require-hashes --quiet "$new/requirements.lock"'
        self._shell.run(f"{self._prepare} {sync} || {{ echo 'uv can not install them; pip tries'; {pip}; }}")

    def _send_packages(self) -> None:
        self._send(site_files(), "packages")

    def _send_horovod(self) -> None:
        kinds = ("horovod/", "horovod-")
        self._send({name: path for name, path in site_files().items() if name.startswith(kinds)}, "horovod")

    def _build_horovod(self) -> None:
        builder = (PROJECT / "scripts" / "build_horovod.py").read_bytes()
        self._shell.run(f'{self._prepare} cat > "$new/build_horovod.py"', builder)
        self._shell.run(
            f'{self._prepare} "$new/bin/python" "$new/build_horovod.py" --answer "$new/wheel"; "$new/bin/python" -m pip '
            'install --quiet --no-index --no-deps --force-reinstall "$(cat "$new/wheel")"'
        )

    def _send_project(self) -> None:
        files = {f"lepton_kit/{path.relative_to(PACKAGE)}": path for path in _files(PACKAGE)}
        self._shell.run(f"{self._prepare} rm -rf {SITE}/lepton_kit")
        self._send(files, "lepton_kit")

    def _put_native(self, fits: bool) -> None:
        """This machine's, where it runs there, else one that is built there; without one sums are slower."""
        built = native.library_path()
        if fits and built.is_file():
            folder = f'"${{XDG_CACHE_HOME:-$HOME/.cache}}/lepton_kit/native/{built.parent.name}"'
            put = f"mkdir -p {folder}; cat > {folder}/ring.new; mv -f {folder}/ring.new {folder}/ring.so"
            self._shell.run(f"{self._prepare} {put}", built.read_bytes())
        else:
            self._shell.run(
                f'{self._prepare} "$new/bin/python" -P -m lepton_kit.training.native || echo "sums will be slower"'
            )

    def _check(self) -> None:
        tried = "import tensorflow, keras, horovod.tensorflow as h, lepton_kit.runtime.hosts.agent; assert h.gloo_built()"
        self._shell.run(
            f'{self._prepare} "$new/bin/python" -P -c {shlex.quote(tried)} >"$new/check.log" 2>&1 || '
            '{ tail -n 3 "$new/check.log"; exit 1; }'
        )

    # ------------------------------------------------------------------ files

    def _send(self, files: Mapping[str, Path], what: str) -> None:
        """Send files into site-packages; those that are there with the same size are not sent again."""
        listed = self._shell.run(
            f"{self._prepare} mkdir -p {SITE}; cd {SITE}; find . -type f -printf '%P\\t%s\\n'", show=False
        )
        there = dict(line.split("\t") for line in listed if "\t" in line)
        lacking = {name: path for name, path in files.items() if there.get(name) != str(path.stat().st_size)}
        total = sum(path.stat().st_size for path in lacking.values())
        if not lacking:
            return

        def send(to: IO[bytes]) -> None:
            sent = told = 0
            with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT, dereference=True) as archive:
                for name, path in lacking.items():
                    archive.add(path, name, recursive=False)
                    sent += path.stat().st_size
                    if sent - told > max(total // 20, 10 * MEGABYTE):
                        told = sent
                        self._tell(
                            f"{self._host.name}:   {what}: {sent // MEGABYTE:,} of {total // MEGABYTE:,} MB"
                        )

        self._shell.run(f"{self._prepare} cd {SITE}; tar -xf - --no-same-owner", send)


def this_machine() -> Bare:
    """The same of this machine."""
    answer = subprocess.run(
        ["sh", "-c", "uname -m; getconf GNU_LIBC_VERSION"], capture_output=True, text=True
    )
    machine, _, libc = answer.stdout.partition("\n")
    return Bare.of([f"machine {machine}", f"libc {libc.strip()}"])


def site_files() -> dict[str, Path]:
    """Name in site-packages -> file, of all that is installed here but this project, which is sent by itself."""
    root = Path(str(metadata.distribution("tensorflow").locate_file("")))
    ours = ("lepton_kit", "__editable__")
    return {
        name: path
        for path in _files(root)
        if not (name := path.relative_to(root).as_posix()).startswith(ours)
    }


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if "__pycache__" not in path.parts and path.is_file():
            yield path


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "of an unknown version"


def install(host: HostSpec, packages: Packages, tell: Tell) -> str:
    """Put the environment on a host; returns what was done in words. Raises `RunError`."""
    if host.via == "local":
        return f"{host.name}: is this machine, which has it"
    if host.via != "ssh":
        raise RunError(f"{host.name}: is no host that ssh reaches")
    return Install(host, packages, tell).run()
