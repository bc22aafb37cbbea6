"""The beginning of a driver that is started as a program: if its libraries can't be loaded, the run says so at once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Be the driver that these arguments describe; see `lepton_kit.runtime.command`."""
    try:
        from lepton_kit.runtime import command
    except BaseException as failure:
        parser = argparse.ArgumentParser()
        parser.add_argument("run", nargs="?")
        parser.add_argument("--lock", type=int)
        known, _ = parser.parse_known_args(arguments)
        if known.run is not None and known.lock is not None:
            from lepton_kit.runtime.failing import could_not_start, write_failure

            write_failure(Path(known.run), could_not_start(failure))
        raise
    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
