"""Execute the notebooks again and keep their outputs: after a change in them, or on a machine whose figures they shall show."""

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
CELL_SECONDS = 600


def execute(path: Path) -> None:
    """Run one notebook in its own folder and write it back; it stays as it was if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    # Times of execution would change with every run, and the state of the widgets is megabytes of JavaScript.
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # on stderr is only what TensorFlow says while it loads
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(notebook, path)


def all_notebooks(folder: Path = FOLDER) -> list[Path]:
    """The tutorials in order, then the notebooks of the fields in `domains/`."""
    return [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("domains/*.ipynb"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="files (default: all, in order)")
    for path in parser.parse_args().notebooks or all_notebooks():
        print(path.name, flush=True)
        execute(path.resolve())


if __name__ == "__main__":
    main()
