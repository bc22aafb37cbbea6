"""One rank that joins one ring of Horovod after the other, in one process, and says what came of each.

Reads the port of the rendezvous once, then a rank and a number of ranks a line; answers a line each.
"""

import sys

import numpy as np

from lepton_kit.errors import CollectiveError
from lepton_kit.runtime.places import on_this_machine
from lepton_kit.training.collective import HorovodCollective


def main() -> None:
    port = int(sys.stdin.readline())
    ring = HorovodCollective()
    print("ready", flush=True)
    for line in sys.stdin:
        rank, ranks = map(int, line.split())
        member = on_this_machine(ranks, ("127.0.0.1", port), timeout_seconds=20)[rank]
        try:
            ring.join(member)
            print(f"sum {ring.agree(np.float32([1 + rank]))[0]:g}", flush=True)
            ring.leave()
        except CollectiveError as failure:
            print(failure, flush=True)


if __name__ == "__main__":
    main()
