"""`python -m lepton_kit.training.native` builds the shared-memory allreduce and says where it lies."""

import sys

from lepton_kit.errors import DeviceError
from lepton_kit.training.native import build

try:
    print(build())
except DeviceError as failure:
    sys.exit(str(failure))
