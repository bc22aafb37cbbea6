"""A plan of a law that is known, for tests that ask it."""

from lepton_kit.client.plans.plan import Plan
from lepton_kit.planning.estimates import Estimate
from lepton_kit.planning.estimating import PRIORS, Row, fit
from lepton_kit.planning.scaling import NAMES, Setting, parts

COSTS = {name: PRIORS[name][0] for name in NAMES if name in PRIORS} | {"fixed": 1e-3, "sample": 1e-4}


def made(noise: Estimate | None = None, workers: int = 2, places: int = 2) -> Plan:
    rows = []
    for batch in (128, 32):
        for count in (1, 2):
            setting = Setting(count, batch, places)
            found = {name: float(value) for name, value in parts(COSTS, setting, 50_000).items()}
            rows.append(
                Row(setting, sum(found.values()), {"compute": found["compute"], "data": found["data"]})
            )
    return Plan(fit(rows, 50_000), rows, Setting(workers, 128, places), samples=1280, epochs=10, noise=noise)
