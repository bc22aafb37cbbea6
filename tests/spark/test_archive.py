"""The archive of an environment works elsewhere, holds this lepton_kit, and leaves out what no worker needs."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lepton_kit.errors import RunError
from lepton_kit.runtime.hosts.versions import code
from lepton_kit.runtime.spark.archive import how_to, pack

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with a package, a lepton_kit that is installed in place, and pyspark."""
    made = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    packages = made / "lib" / VERSION / "site-packages"
    for name in ("other", "pyspark", "other/include"):
        (packages / name).mkdir()
        (packages / name / "__init__.py").write_text("")
    (packages / "__editable__.lepton_kit-0.1.0.pth").write_text("/nowhere\n")
    (packages / "lepton_kit-0.1.0.dist-info").mkdir()
    (packages / "lepton_kit-0.1.0.dist-info" / "METADATA").write_text("Name: lepton-kit\n")
    (made / "share").mkdir()
    (made / "share" / "big").write_text("")
    return made


def test_an_archive_runs_this_lepton_kit_elsewhere(environment: Path, tmp_path: Path):
    target = tmp_path / "lepton_kit.tar.gz"
    assert pack(target, environment) == target.stat().st_size
    elsewhere = tmp_path / "elsewhere" / "lepton_kit"
    with tarfile.open(target) as archive:
        archive.extractall(elsewhere, filter="fully_trusted")
    environment.rename(tmp_path / "gone")
    ask = "import other, lepton_kit; from lepton_kit.runtime.hosts.versions import code; print(code())"
    answer = subprocess.run(
        [str(elsewhere / "bin" / "python"), "-P", "-c", ask],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert answer.stdout.strip() == code()
    packages = elsewhere / "lib" / VERSION / "site-packages"
    names = {path.name for path in packages.iterdir()}
    assert names == {"lepton_kit", "lepton_kit-0.1.0.dist-info", "other"}
    assert (packages / "other" / "include").is_dir()
    assert (packages / "lepton_kit" / "training" / "native" / "ring.cc").exists()
    assert not (elsewhere / "share").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_can_t_be_packed_is_said(environment: Path, tmp_path: Path):
    with pytest.raises(RunError, match=r"a\.zip: expected a name that ends in \.tar\.gz"):
        pack(tmp_path / "a.zip", environment)
    with pytest.raises(RunError, match="no virtual environment"):
        pack(tmp_path / "a.tar.gz", tmp_path)
    with pytest.raises(RunError, match="can't be written"):
        pack(tmp_path / "no" / "a.tar.gz", environment)


def test_how_to_pass_it_is_said():
    text = how_to(Path("lepton_kit.tar.gz"))
    assert "'archive': 'lepton_kit.tar.gz'" in text
    assert f"spark.archives', '{Path('lepton_kit.tar.gz').absolute()}#lepton_kit'" in text
