"""Set-up: what is missing is said, and only what changed is done again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def setup(script, tmp_path: Path, monkeypatch) -> ModuleType:
    module = script("setup")
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv" / "stamp.json")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text("")
    return module


# Which Python


def test_an_old_python_alone_is_told_what_to_install(script, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        SystemExit, match=r"needs Python 3\.11 to 3\.13.*This is Python 3\.10.*apt-get install"
    ):
        script("setup")


def test_an_old_python_hands_over_to_one_that_fits_and_runs(script, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    monkeypatch.setattr(shutil, "which", lambda name: f"/shims/{name}")
    monkeypatch.setattr(subprocess, "call", lambda command, **_: 0 if command[0].endswith("3.12") else 127)
    taken = []

    def replace(command, arguments):
        taken.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", replace)
    with pytest.raises(SystemExit):
        script("setup")
    assert taken == ["/shims/python3.12"]


def test_everything_that_is_missing_is_named_at_once(setup, monkeypatch, tmp_path):
    shutil.rmtree(setup.VENV)
    monkeypatch.setattr(setup.sys, "platform", "darwin")
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    monkeypatch.setattr(setup.subprocess, "call", lambda *arguments, **options: 1)
    monkeypatch.setattr(setup, "python_headers", lambda: None)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(setup.SetupError) as failure:
        setup.check_machine()
    for word in ("Linux", "C\\+\\+ compiler", "venv module", "headers", "1.0 GB free"):
        assert re.search(word, str(failure.value))


# Steps


def recorded(
    setup, monkeypatch, keys: dict[str, str], failing: str | None = None, optional: str | None = None
):
    """Replace the steps by ones that write down that they ran."""
    ran: list[str] = []

    def act(name: str) -> None:
        ran.append(name)
        if name == failing:
            raise setup.SetupError(f"{name} broke")

    steps = [(name, key, lambda name=name: act(name), name == optional) for name, key in keys.items()]
    monkeypatch.setattr(setup, "_steps", lambda tests: steps)
    monkeypatch.setattr(setup, "check_machine", lambda: None)
    monkeypatch.setattr(setup, "make_venv", lambda python: None)
    return ran


def test_a_second_run_does_nothing_and_a_changed_key_only_its_step(setup, monkeypatch, capsys):
    ran = recorded(setup, monkeypatch, {"packages": "1", "horovod": "1", "native": "1"})
    setup.set_up(force=False)
    assert ran == ["packages", "horovod", "native"]
    ran.clear()
    capsys.readouterr()
    setup.set_up(force=False)
    assert ran == []
    assert capsys.readouterr().out == ""
    ran = recorded(setup, monkeypatch, {"packages": "1", "horovod": "1", "native": "2"})
    setup.set_up(force=False)
    assert ran == ["native"]


def test_new_packages_and_force_make_every_step_due(setup, monkeypatch):
    recorded(setup, monkeypatch, {"packages": "1", "horovod": "1"})
    setup.set_up(force=False)
    ran = recorded(setup, monkeypatch, {"packages": "2", "horovod": "1"})
    setup.set_up(force=False)
    assert ran == ["packages", "horovod"]
    ran.clear()
    setup.set_up(force=True)
    assert ran == ["packages", "horovod"]


def test_a_broken_step_ends_set_up_and_is_due_again(setup, monkeypatch):
    ran = recorded(setup, monkeypatch, {"packages": "1", "horovod": "1", "native": "1"}, failing="horovod")
    with pytest.raises(setup.SetupError, match="horovod broke"):
        setup.set_up(force=False)
    assert ran == ["packages", "horovod"]
    ran = recorded(setup, monkeypatch, {"packages": "1", "horovod": "1", "native": "1"})
    setup.set_up(force=False)
    assert ran == ["horovod", "native"]


def test_a_broken_optional_step_is_a_warning(setup, monkeypatch, capsys):
    keys = {"packages": "1", "native": "1"}
    ran = recorded(setup, monkeypatch, keys, failing="native", optional="native")
    setup.set_up(force=False)
    assert ran == ["packages", "native"]
    assert "warning: native broke" in capsys.readouterr().err


def test_a_broken_stamp_counts_as_none(setup):
    setup.STAMP.write_text("{torn")
    assert setup.read_stamp() == {}
    setup.STAMP.write_text("[1]")
    assert setup.read_stamp() == {}


def test_a_key_changes_with_a_files_content_and_the_text(setup, tmp_path):
    file = tmp_path / "a"
    file.write_text("1")
    first = setup.key_of(file)
    assert setup.key_of(file, text="nccl") != first
    file.write_text("2")
    assert setup.key_of(file) != first


def test_a_failing_command_is_named(setup):
    with pytest.raises(setup.SetupError, match=r"it broke \(exit code 3"):
        setup.run([sys.executable, "-c", "raise SystemExit(3)"], "it broke")


def test_pip_takes_over_where_uv_cannot_reach_the_index(setup, monkeypatch, capsys):
    commands = []

    def answer(command, **options):
        commands.append(command)
        return SimpleNamespace(returncode=2 if command[0].endswith("uv") else 0)

    monkeypatch.setattr(setup.subprocess, "run", answer)
    setup.install_packages()
    assert [Path(command[0]).name for command in commands] == ["python", "uv", "python"]
    assert str(setup.LOCK) in commands[2]
    assert "--require-hashes" in commands[2]
    assert "pip" in capsys.readouterr().out


def test_the_tests_packages_are_added_and_a_set_up_without_them_leaves_them(setup, monkeypatch):
    commands = []

    def answer(command, **options):
        commands.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(setup.subprocess, "run", answer)
    plain, more = ([step[0] for step in setup._steps(tests)] for tests in (False, True))
    assert [name for name in more if name not in plain] == ["test packages"]
    assert more.index("packages") < more.index("test packages")
    setup.add_test_packages()
    assert [command[1:3] for command in commands] == [["pip", "install"]]
    assert str(setup.TEST_LOCK) in commands[0]


def test_a_lock_without_uv_is_refused(setup):
    with pytest.raises(setup.SetupError, match="no pinned uv"):
        setup.lock_entry("uv", "uvicorn==1 \\\n    --hash=sha256:00\n")


def test_uv_keeps_its_own_index(setup):
    environment = setup.uv_environment(
        {"PIP_INDEX_URL": "https://a.example", "UV_DEFAULT_INDEX": "https://b.example"}
    )
    assert environment["UV_DEFAULT_INDEX"] == "https://b.example"


# The commands


def dry(*arguments: str) -> str:
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_lab_sets_up_then_opens_the_quickstart_on_loopback_with_its_token():
    told = dry("lab")
    assert told.index("scripts/setup.py") < told.index("scripts/lab.py")
    assert "/lab/tree/notebooks/00_quickstart.ipynb" in told
    assert "token" not in told
    assert "--no-browser" not in told
    assert ("--allow-root" in told) == (os.geteuid() == 0)


def test_make_lab_serves_this_checkout_on_loopback_with_its_command_on_the_path(script, monkeypatch):
    lab = script("lab")
    became: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(lab.os, "execve", lambda *words: became.append(words))
    monkeypatch.setattr(sys, "argv", ["lab.py", "--no-browser"])
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.delenv("LEPTON_RUNS_DIR", raising=False)
    lab.main()
    ((program, words, environment),) = became
    assert program == sys.executable
    assert {"--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={ROOT}"} <= set(words)
    assert words[-1] == "--no-browser"  # what a caller says counts
    assert environment["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert environment["LEPTON_RUNS_DIR"] == str(ROOT / "runs")


def test_the_extension_of_jupyterlab_is_installed_whole_and_anew(setup, tmp_path):
    share, etc = tmp_path / "share", tmp_path / "etc"
    for _ in range(2):
        setup.write_lab_extension(share, etc)
        there = share / "labextensions" / "lepton-kit-lab"
        about = json.loads((there / "package.json").read_text())
        assert about["name"] == there.name
        assert (there / about["jupyterlab"]["_build"]["load"]).is_file()
        enabled = json.loads((etc / "jupyter_server_config.d" / "lepton_kit.json").read_text())
        assert enabled == {"ServerApp": {"jpserver_extensions": {"lepton_kit.lab": True}}}
        assert sorted(path.name for path in there.iterdir()) == ["package.json", "static"]
        (there / "left over").touch()


@pytest.mark.parametrize("way", ["ARGS=--no-browser", "NO_BROWSER=1"])
def test_make_lab_works_headless(way):
    assert "--no-browser" in dry("lab", way)


def test_make_test_sets_up_then_runs_every_kind_of_check(script):
    told = dry("test")
    assert told.index("scripts/setup.py --tests") < told.index("scripts/check.py")
    assert "--tests" not in dry("lab")
    names = [step.name for step in script("check").steps()]
    assert names == [
        "ruff check",
        "ruff format",
        "mypy",
        "calls",
        "import order",
        "dependencies",
        "tests",
        "exact tests",
        "notebooks",
        "doctests",
        "long tests",
        "conformance",
        "gpu",
    ]


def test_one_failing_step_fails_all_but_the_others_still_run(script, monkeypatch, capsys):
    check = script("check")
    exit_with = (sys.executable, "-c", "import sys; sys.exit(int(sys.argv[1]))")
    steps = (
        check.Step("first", "lint", (*exit_with, "1")),
        check.Step("empty", "test", (*exit_with, "5"), may_be_empty=True),
        check.Step("last", "test", (*exit_with, "0")),
    )
    monkeypatch.setattr(check, "steps", lambda: steps)
    monkeypatch.setattr(sys, "argv", ["check.py"])
    assert check.main() == 1
    assert "2 of 3 steps passed; failed: first" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["check.py", "--only", "test"])
    assert check.main() == 0


MEET = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:3])
mine.touch()
for _ in range(600):
    if other.exists():
        print("met")
        sys.exit(int(sys.argv[3]))
    time.sleep(0.1)
sys.exit(9)
"""


def test_a_step_beside_runs_beside_the_others_and_is_told_apart(script, capfd, tmp_path):
    check = script("check")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    steps = (
        check.Step("here", "test", (sys.executable, "-c", MEET, one, two, "0")),
        check.Step("there", "test", (sys.executable, "-c", MEET, two, one, "3"), beside=True),
        check.Step("after it", "test", (sys.executable, "-c", "print('alone')"), beside=True),
    )
    assert check.run_all(steps) == ["there"]
    lines = capfd.readouterr().out.splitlines()
    assert {"met", "┊ met", "┊ alone"} <= set(lines)
    assert any(line.startswith("━━ here: passed") for line in lines)
    assert any(line.startswith("┊ ━━ there: FAILED") for line in lines)
    assert lines.index("┊ met") < lines.index("┊ alone")


def test_every_folder_of_tests_runs_in_one_lane(script):
    check = script("check")
    commands = {step.name: step.command for step in check.steps()}
    left_out = {part.removeprefix("--ignore=") for part in commands["tests"] if part.startswith("--ignore=")}
    assert left_out == {part for part in commands["exact tests"] if part.startswith("tests/")}
    assert all((ROOT / folder).is_dir() for folder in left_out)


def test_an_empty_run_fails_where_tests_must_be(script, capfd):
    check = script("check")
    command = (sys.executable, "-c", "raise SystemExit(5)")
    assert check.run(check.Step("tests", "test", command)) is False


def test_the_automatic_check_is_a_runnable_shell_script():
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "make test" in path.read_text(encoding="utf-8")


# The tree of files


def test_a_page_without_markers_is_refused(script):
    with pytest.raises(ValueError, match="markers"):
        script("file_tree").replaced("# Title\n", "tree")


def test_the_tree_lists_a_package_with_its_own_sentence(script, tmp_path):
    tree = script("file_tree")
    package = tmp_path / "lepton_kit" / "data"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""What to train on."""\n')
    (package / "images.py").write_text('"""Images.\n\nMore.\n"""\n')
    lines = tree.tree([package / "__init__.py", package / "images.py"], tmp_path).splitlines()
    assert [line.split(None, 1) for line in lines[1:3]] == [
        ["data/", "What to train on."],
        ["images.py", "Images."],
    ]
