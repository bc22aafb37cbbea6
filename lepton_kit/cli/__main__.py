"""`python -m lepton_kit.cli`."""

import sys

from lepton_kit.cli import main

sys.exit(main())
