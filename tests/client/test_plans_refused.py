"""What can't be planned is refused in words, before a process starts."""

import math

import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.client.plans.planning import plan
from lepton_kit.config import RunConfig
from lepton_kit.errors import ConfigError
from lepton_kit.planning.scaling import Link, Setting
from tests.client.planned import made


@pytest.fixture(scope="module")
def two_cores():
    return made()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": 129}, "workers"),
        ({"workers": 1.5}, "workers"),
        ({"workers": True}, "workers"),
        ({"workers": "2"}, "workers"),
        ({"workers": 16, "batch": 8}, "workers"),
        ({"batch": 4000}, "batch"),
        ({"batch": 0}, "batch"),
        ({"batch": -1}, "batch"),
        ({"batch": "64"}, "batch"),
        ({"batch": 64.0}, "batch"),
        ({"hosts": 0}, "hosts"),
        ({"hosts": 3, "link": "1gbit/1"}, "hosts"),
        ({"link": "fast"}, "link"),
        ({"link": "1gbit/-1"}, "link"),
        ({"link": 1e9}, "link"),
        ({"wire": "bfloat16"}, "float32 or float16"),
        ({"wire": 2}, "float32 or float16"),
    ],
)
def test_what_can_not_be_planned_names_its_field(two_cores, changes, field):
    for call in (two_cores.predict, lambda **asked: two_cores.table([asked.pop("workers", 2)], **asked)):
        with pytest.raises(ConfigError, match=field):
            call(**changes)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda plan: plan.table([]), "workers"),
        (lambda plan: plan.table(4), "workers"),
        (lambda plan: plan.table("12"), "workers"),
        (lambda plan: plan.table(power=100), "power"),
        (lambda plan: plan.table(prices="nothere.yaml"), "prices"),
        (
            lambda plan: plan.table([2], host=2),
            "host: got 2; expected one of workers, hosts, batch, link, wire",
        ),
        (lambda plan: plan.over(links="1gbit/1"), "links"),
        (lambda plan: plan.figure(0), "workers"),
        (lambda plan: plan.figure(width=-5), "width"),
        (lambda plan: plan.over(0), "most"),
        (lambda plan: plan.trade(0), "batch"),
        (lambda plan: plan.advise(most=-1), "most"),
        (lambda plan: plan.advise(batches=[0]), "batch"),
        (lambda plan: plan.advise(wire="int8"), "float32 or float16"),
        (lambda plan: Link(-1.0, 0.0), "link.bits"),
        (lambda plan: Link(1e9, math.nan), "link.seconds"),
        (lambda plan: Setting(2, 8, 2, wire_bytes=3), "wire_bytes"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(two_cores, call, field):
    with pytest.raises(ConfigError, match=field):
        call(two_cores)


def test_a_price_in_another_unit_is_refused_by_file_and_field(two_cores, tmp_path):
    prices = tmp_path / "mine.yaml"
    prices.write_text(
        "date: 2026-01-01\nelectricity: {per_mwh: 280, currency: EUR, date: 2026-01-01, source: a}"
    )
    with pytest.raises(ConfigError, match=r"mine\.yaml: electricity: got 'per_mwh'; .* per_kwh"):
        two_cores.table([1], prices=prices)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"measured": ()}, "measured"),
        ({"measured": (0,)}, "measured"),
        ({"seconds": 0}, "seconds"),
        ({"measured": "12"}, "measured"),
        ({"measured": 2}, "measured"),
        ({"measured": (True,)}, "measured"),
        ({"seconds": "1"}, "seconds"),
        ({"seconds": math.nan}, "seconds"),
        ({"noise": -1}, "noise"),
        ({"noise": "abc"}, "noise"),
        ({"noise": (1.0, None, 2.0)}, "noise"),
        ({"noise": math.inf}, "noise"),
        ({"link": "fast"}, "link"),
        ({"data": 1, "epochs": -1}, "epochs"),
        ({"data": 1, "threads": "x"}, "threads"),
        ({"data": 1, "wire": "int8"}, "wire"),
        ({}, "data"),
    ],
)
def test_a_plan_that_can_not_be_made_says_so_before_any_process(changes, field):
    with pytest.raises(ConfigError, match=field):
        plan(object(), **changes)


def test_what_a_run_has_itself_is_not_ignored_beside_it(tmp_path):
    model, data = lk.LeptonModel((8, 8, 1), 10, hidden_size=8), lk.data.sample("digits")
    run = lk.launch(model, data, workers=1, max_steps=2, runs_dir=tmp_path).wait()
    for known in (run, str(run.directory)):
        for name, value in {"workers": 8, "global_batch": 64}.items():
            with pytest.raises(ConfigError, match=rf"^{name}: got {value}; .* a run has its own"):
                plan(known, **{name: value})
    with pytest.raises(ConfigError, match=r"^data: got .* a run has its own"):
        plan(run, data)


def test_more_workers_than_samples_of_the_batch_are_not_measured():
    model = lk.LeptonModel((8, 8, 1), 10, hidden_size=8)
    with pytest.raises(ConfigError, match=r"^measured: got \(1, 16\); expected at most 8"):
        plan(model, lk.data.sample("digits"), batch_size=8, measured=(1, 16))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothere.yaml"], "nothere.yaml"),
        (["--figure", "plan.png", "x.yaml"], "ends in .svg"),
        (["nothere"], "nothere"),
        (["x.yaml", "--wire", "int8"], "float32 or float16"),
        (["x.yaml", "--hosts", "2"], "--link"),
        (["x.yaml", "--hosts", "0"], "hosts"),
        (["x.yaml", "--link", "fast"], "rate/milliseconds"),
        (["x.yaml", "--workers", "0"], "workers"),
        (["x.yaml", "--workers", "4", "--batch", "2"], "at most 2"),
        (["x.yaml", "--prices", "none.yaml"], "prices"),
        (["x.yaml", "--instance", "aws-m7g.larg"], "did you mean aws-m7g.large"),
    ],
)
def test_the_shell_says_what_is_wrong(arguments, said, capsys):
    assert main(["plan", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_more_workers_than_the_file_has_samples_in_a_batch_are_refused_before_a_run_is_made(tmp_path, capsys):
    file = tmp_path / "config.yaml"
    file.write_text(
        "model: {kind: lepton, input_shape: [8, 8, 1], num_classes: 10}\n"
        "data: {kind: sample, name: digits}\ntraining: {global_batch: 32}\n"
    )
    assert main(["plan", str(file), "--workers", "2", "4096"]) == 1
    said = capsys.readouterr().err
    assert "workers: got 4096; expected at most 32" in said
    assert "short run" not in said


def test_options_beside_a_configuration_are_refused():
    config = RunConfig.from_dict(
        {
            "model": {"kind": "lepton", "input_shape": [8, 8, 1], "num_classes": 10},
            "data": {"kind": "sample", "name": "digits"},
        }
    )
    with pytest.raises(ConfigError, match="epochs"):
        plan(config, epochs=3)
