"""The Horovod build: the exact patch, the checked source, and one build per key."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def horovod(script, tmp_path: Path, monkeypatch) -> ModuleType:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LEPTON_HOROVOD_GPU", raising=False)
    return script("build_horovod")


LISTED = 'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n'
BEGINNING = "void GlooContext::InitializeForProcessSet(const GlooContext& global_context,\n    int ranks) {\n"
SET_UP = """#if HAVE_GLOO
#if HAVE_MPI
  if (global_mpi_context.IsEnabled()) {
    // Initialize gloo context if mpi context is available
  } else
#endif // HAVE_MPI
  {
    global_gloo_context.Initialize(ParseGlooIface());
  }
#endif // HAVE_GLOO
"""
FLAG = "    horovod_global.initialization_done = false;\n"
THREAD = "    horovod_global.background_thread =\n"
CHANGES = (
    (LISTED, ""),
    (BEGINNING, BEGINNING + "  gloo_iface_ = global_context.gloo_iface_;\n"),
    (
        SET_UP,
        "#if HAVE_GLOO\n  try {\n"
        + SET_UP.partition("\n")[2].removesuffix("#endif // HAVE_GLOO\n")
        + """  } catch (const std::exception& failure) {
    LOG(ERROR) << "Horovod could not be initialized: " << failure.what();
    state.process_set_table.Get(0).Finalize(SHUT_DOWN_ERROR);
    global_gloo_context.Finalize();
    state.initialization_failed = true;
    return;
  }
#endif // HAVE_GLOO
""",
    ),
    (FLAG + THREAD, FLAG + "    horovod_global.initialization_failed = false;\n" + THREAD),
)
"""What stands at the place of each patch, and what stands there afterwards."""


def test_each_patch_has_its_row(horovod):
    assert len(horovod.PATCHES) == len(CHANGES)


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_patch_changes_exactly_its_place(horovod, tmp_path, number):
    change, (place, becomes) = horovod.PATCHES[number], CHANGES[number]
    file = tmp_path / change.file
    file.parent.mkdir(parents=True)
    file.write_text("before\n#endif // HAVE_GLOO\n" + place + "after\n#endif // HAVE_GLOO\n")
    horovod.patch(tmp_path, change)
    assert file.read_text() == "before\n#endif // HAVE_GLOO\n" + becomes + "after\n#endif // HAVE_GLOO\n"


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_patch_refuses_a_file_that_is_not_the_known_one(horovod, tmp_path, number, count):
    change = horovod.PATCHES[number]
    file = tmp_path / change.file
    file.parent.mkdir(parents=True)
    file.write_text(CHANGES[number][0] * count)
    with pytest.raises(horovod.BuildError, match=f"exactly one {change.place}, found {count}"):
        horovod.patch(tmp_path, change)


def test_a_source_with_another_hash_is_refused(horovod, tmp_path):
    archive = tmp_path / "horovod-0.28.1.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(horovod.BuildError, match=r"its SHA-256 is [0-9a-f]{64}; expected 92a43f"):
        horovod.check_hash(archive)


@pytest.mark.parametrize("filters", [True, False], ids=["this Python", "a Python before 3.11.4"])
def test_the_source_is_unpacked_by_every_python(horovod, monkeypatch, tmp_path, filters):
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
        unpacked = tarfile.TarFile.extractall
        monkeypatch.setattr(tarfile.TarFile, "extractall", lambda self, path: unpacked(self, path))
    (tmp_path / "one").write_text("1")
    with tarfile.open(tmp_path / "made.tar.gz", "w:gz") as made:
        made.add(tmp_path / "one", f"horovod-{horovod.VERSION}/setup.py")
    source = horovod.unpack(tmp_path / "made.tar.gz", tmp_path / "there")
    assert (source / "setup.py").read_text() == "1"


def test_the_cache_key_changes_with_settings_tensorflow_and_compiler(horovod, monkeypatch):
    first = horovod.cache_key(horovod.BUILD_SETTINGS)
    keys = {first, horovod.cache_key({**horovod.BUILD_SETTINGS, "HOROVOD_GPU_OPERATIONS": "NCCL"})}
    with monkeypatch.context() as patched:
        patched.setattr(horovod, "compiler_major", lambda: "99")
        keys.add(horovod.cache_key(horovod.BUILD_SETTINGS))
    with monkeypatch.context() as patched:
        patched.setattr(horovod.metadata, "version", lambda name: "9.9.9")
        keys.add(horovod.cache_key(horovod.BUILD_SETTINGS))
    assert len(keys) == 4
    assert horovod.cache_key(horovod.BUILD_SETTINGS) == first


def test_without_tensorflow_nothing_is_built(horovod, monkeypatch):
    def missing(name):
        raise horovod.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(horovod.metadata, "version", missing)
    with pytest.raises(horovod.BuildError, match="TensorFlow is not installed"):
        horovod.find_or_build()


def test_without_a_compiler_nothing_is_built(horovod, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(horovod.BuildError, match="no-such-compiler does not run"):
        horovod.find_or_build()


def test_an_unknown_gpu_choice_names_what_is_allowed(horovod):
    with pytest.raises(
        horovod.BuildError, match="LEPTON_HOROVOD_GPU: got 'cuda'; expected none, nccl or auto"
    ):
        horovod.wants_nccl("cuda")


def test_a_wheel_is_built_once_and_then_found(horovod, monkeypatch):
    built = []

    def build(scratch, settings):
        built.append(settings)
        wheel = scratch / "horovod-0.28.1-cp311.whl"
        wheel.write_text("wheel")
        return wheel

    monkeypatch.setattr(horovod, "build", build)
    first = horovod.find_or_build()
    assert horovod.find_or_build() == first
    assert len(built) == 1
    assert horovod.find_or_build(rebuild=True) == first
    assert len(built) == 2
    assert not list(first.parent.parent.glob(".build-*"))


def test_a_failed_build_says_where_its_log_is_and_leaves_no_wheel(horovod, monkeypatch, tmp_path):
    monkeypatch.setattr(horovod, "download", lambda scratch: scratch)
    monkeypatch.setattr(horovod, "unpack", lambda archive, scratch: scratch / "source")
    monkeypatch.setattr(horovod, "patch", lambda source, change: None)
    monkeypatch.setattr(
        horovod, "pip", lambda *arguments: [sys.executable, "-c", "raise SystemExit('no header')"]
    )
    with pytest.raises(horovod.BuildError, match=r"(?s)build\.log.*no header"):
        horovod.find_or_build()
    assert not list((tmp_path / "cache").rglob("*.whl"))
