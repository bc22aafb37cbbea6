"""Keep the file tree in docs/files.md true: each file of the project with the first line it says about itself."""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "docs" / "files.md"
BEGIN, END = "<!-- tree: written by scripts/file_tree.py -->", "<!-- end of tree -->"
FOLDERS = {
    "lepton_kit": "the package",
    "notebooks": "tutorials that run as tests",
    "notebooks/domains": "one notebook a field, from its data to answers for new input",
    "benchmarks": "comparisons side by side, printed as ratios",
    "scripts": "set-up and checks",
}
OTHER = (
    ("data_samples/", "small real data sets, each with its source and licence"),
    ("docs/", "architecture, set-up, and one page a topic"),
    ("tests/", "mirrors the package"),
)
SHOWN = (".py", ".ipynb", ".cc", ".h", ".js", ".css")
WIDTH = 34


def describe(path: Path) -> str:
    """The first line that a Python module, a notebook, a C++ file or a page's file says about itself. Empty if it says nothing."""
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return "".join(cells[0]["source"]).partition("\n")[0].lstrip("# ") if cells else ""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.strip("/* ")


def project_files(root: Path = ROOT) -> list[Path]:
    """The files that git knows or would know, below the folders that are shown."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return sorted({root / name for name in listed if name.endswith(SHOWN) and (root / name).exists()})


def tree(files: list[Path], root: Path = ROOT) -> str:
    """The lines of the tree: modules by folder, a package's own sentence on the folder's line."""
    lines: list[str] = []
    opened: set[Path] = set()
    for path in sorted(
        files, key=lambda path: (list(FOLDERS).index(path.relative_to(root).parts[0]), path.parts)
    ):
        inside = path.relative_to(root)
        for parent in reversed(inside.parents[:-1]):
            if parent not in opened:
                opened.add(parent)
                lines.append(_line(len(parent.parts) - 1, f"{parent.name}/", _about_folder(root, parent)))
        if path.name != "__init__.py":
            lines.append(_line(len(inside.parts) - 1, path.name, describe(path)))
    lines += [_line(0, name, about) for name, about in OTHER]
    return "\n".join(lines)


def _about_folder(root: Path, folder: Path) -> str:
    first = root / folder / "__init__.py"
    return FOLDERS.get(str(folder)) or (describe(first) if first.exists() else "")


def _line(depth: int, name: str, about: str) -> str:
    return f"{'  ' * depth + name:{WIDTH}} {about}".rstrip()


def replaced(text: str, lines: str) -> str:
    """The page with its tree replaced. Raises `ValueError` when the markers are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/files.md: the markers {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n```\n{lines}\n```\n{END}{after}"


def main() -> int:
    """Check the tree, or write it; 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the tree into docs/files.md")
    options = parser.parse_args()
    files = project_files()
    silent = [str(path.relative_to(ROOT)) for path in files if not describe(path)]
    if silent:
        print(f"no first line that says what it is for: {', '.join(silent)}", file=sys.stderr)
        return 1
    text = TREE.read_text(encoding="utf-8")
    fresh = replaced(text, tree(files))
    if options.write:
        TREE.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        print("docs/files.md: out of date; `make format` renews it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
