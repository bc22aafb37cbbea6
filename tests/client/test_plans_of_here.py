"""Plans of options and configurations: with their own threads and wire, and of this machine alone."""

import pytest

import lepton_kit as lk
from lepton_kit.client.plans import planning
from lepton_kit.client.plans.planning import plan
from lepton_kit.config import RunConfig
from lepton_kit.planning.estimating import Row
from lepton_kit.planning.measured_steps import Told
from lepton_kit.planning.scaling import Setting, parts
from tests.client.planned import COSTS


@pytest.fixture
def short_runs(monkeypatch):
    """What short runs were asked for; each tells of a law that is known."""
    asked = []

    def measure(start, **options):
        asked.append(options)
        workers = options["workers"]
        settings = [Setting(count, options["batch"], options["places"]) for count in workers]
        rows = tuple(Row(one, float(sum(parts(COSTS, one, 50_000).values())), {}) for one in settings)
        return Told(rows, {"parameters": 50_000, "samples": 1280}, None)

    monkeypatch.setattr(planning, "measure", measure)
    return asked


@pytest.mark.parametrize("threads", [None, 2])
def test_a_configuration_is_planned_with_its_own_threads_and_wire(short_runs, threads):
    config = RunConfig.from_dict(
        {
            "model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
            "data": {"kind": "sample", "name": "digits"},
            "training": {"global_batch": 64},
            "workers": {"threads": threads, "wire": "float16"},
        }
    )
    found = plan(config, link="1gbit/0.5", across=True)
    assert [one["batch"] for one in short_runs] == [64, 16, 64]
    assert {one["threads"] for one in short_runs} == {threads or 1}
    assert {one["wire"] for one in short_runs} == {"float16"}
    assert found.threads == (threads or 1)
    assert found.predict(4, hosts=2).step == found.predict(4, hosts=2, wire="float16").step
    assert found.predict(4, hosts=2).step != found.predict(4, hosts=2, wire="float32").step


@pytest.mark.parametrize(
    ("workers", "left_out"),
    [
        ({}, ()),
        ({"hosts": ["localhost:2"]}, ()),
        ({"hosts": ["localhost:2", "one:2", "me@two:4"]}, ("one", "me@two")),
        ({"spark": {"master": "local[2]"}}, ("the executors of Spark",)),
    ],
)
def test_what_stands_elsewhere_is_told_to_be_no_part_of_a_plan(short_runs, workers, left_out):
    model, data = lk.LeptonModel((8, 8, 1), 10), lk.data.sample("digits")
    config = RunConfig.from_dict(
        {
            "model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
            "data": {"kind": "sample", "name": "digits"},
            "training": {"global_batch": 64},
            "workers": workers,
        }
    )
    for found in (plan(config), plan(model, data, global_batch=64, **workers)):
        assert found.left_out == left_out
        words = f"of this machine alone, without {', '.join(left_out)}: hosts"
        assert (words in found.told()) == bool(left_out)
        assert found.base.hosts == 1
