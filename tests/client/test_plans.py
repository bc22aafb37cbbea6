"""What a plan predicts, says, draws and advises, from steps of a law that is known."""

import json
import math
import re
import time
from dataclasses import replace

import numpy as np
import pytest

import lepton_kit as lk
from lepton_kit.cli import main
from lepton_kit.client.plans import planning
from lepton_kit.client.plans.plan import Plan, read_noise
from lepton_kit.client.plans.runs import link_of
from lepton_kit.errors import ConfigError
from lepton_kit.panels import PlanPanel
from lepton_kit.planning.estimates import Estimate
from lepton_kit.planning.estimating import Row
from lepton_kit.planning.measured_steps import Told
from lepton_kit.planning.power import Power
from lepton_kit.planning.scaling import Link, Setting, parts
from lepton_kit.runtime.hosts.findings import Checked, Pair
from tests.client.planned import COSTS, made


@pytest.fixture(scope="module")
def two_cores() -> Plan:
    return made()


def test_more_workers_than_cores_stop_paying_and_the_sentence_says_why(two_cores):
    assert two_cores.paying is not None
    assert two_cores.paying[0] == 2
    assert re.match(
        r"2 workers pay here: .* samples/s \(.* to .*\); a third would make that .* % less", two_cores.told()
    )
    assert "take turns" in two_cores.told()
    assert "estimated" in two_cores.told()
    assert two_cores.told() in repr(two_cores)


def test_a_prediction_holds_together(two_cores):
    found = two_cores.predict(2)
    assert found.samples_per_second.value == pytest.approx(128 / found.step.value)
    assert found.samples_per_second.low < found.samples_per_second.value < found.samples_per_second.high
    assert found.epochs == Estimate(10, 10, 10)
    assert found.seconds is not None
    assert found.seconds.value == pytest.approx(10 * (10 * found.step.value + two_cores.beside))
    assert 0.5 < found.efficiency.value < 1.0
    assert two_cores.predict(1).efficiency.value == pytest.approx(1.0)
    assert sum(found.parts.values()) == pytest.approx(found.step.value)


def test_another_batch_has_no_end_without_a_noise_scale(two_cores):
    assert two_cores.predict(batch=256).seconds is None
    assert two_cores.predict(batch=256).epochs is None
    row = two_cores.table([2], batch=256).loc[2]
    assert row["epochs"] is None
    assert row["samples_per_second"] > 0


def test_a_noise_scale_says_what_larger_batches_cost():
    """1.4 times the epochs for four times the batch: (512 + 832) / (128 + 832), McCandlish et al. (2018), formula 2.11."""
    planned = made(read_noise((832.0, 400.0, 2000.0)))
    found = planned.predict(batch=512)
    assert found.epochs is not None
    assert found.epochs.value == pytest.approx(14.0)
    assert found.epochs.low < 14.0 < found.epochs.high
    assert planned.trade(512).startswith("128 → 512: costs 1.4 × the epochs; ")
    assert "later" in planned.trade(512)
    assert planned.advise(batches=[512]).options["batch_size"] == 128
    patient = made(read_noise(1e6))
    assert patient.advise(batches=[512]).options["batch_size"] == 512
    assert "1 × the epochs" in patient.advise(batches=[512]).text
    assert "sooner" in patient.trade(512)
    assert "not known" in made().trade(512)
    with pytest.raises(ConfigError, match="noise"):
        read_noise((1.0, 2.0, 3.0))
    assert read_noise(None) is None


def test_energy_and_money_are_those_of_all_hosts_for_as_long_as_it_takes(two_cores, tmp_path):
    power = Power(idle=50.0, core=50.0, cores=2, spread=(0.5, 2.0))
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "date: 2026-01-01\nelectricity: {per_kwh: 0.5, currency: EUR, date: 2026-01-01, source: a bill}\n"
        "cloud:\n  box: {per_hour: 3.6, currency: USD, date: 2026-01-01, source: a list}\n"
    )
    found = two_cores.table([1, 2], power=power, prices=prices)
    assert found.loc[1, "kwh"] == pytest.approx(found.loc[1, "seconds"] * 100 / 3.6e6, rel=1e-3)
    assert found.loc[2, "kwh"] == pytest.approx(found.loc[2, "seconds"] * 150 / 3.6e6, rel=1e-3)
    assert found.loc[2, "kwh_low"] < 0.6 * found.loc[2, "kwh"] < found.loc[2, "kwh_high"]
    assert found.loc[2, "money"] == pytest.approx(found.loc[2, "kwh"] * 0.5, rel=1e-3)
    rented = two_cores.table([4], hosts=2, link="1gbit/0.5", prices=prices, instance="box").loc[4]
    assert rented["money"] == pytest.approx(rented["seconds"] * 2 * 3.6 / 3600, rel=1e-3)
    with pytest.raises(ConfigError, match="instance"):
        two_cores.table(prices=prices, instance="bx")
    assert two_cores.table([2], batch=256).loc[2, "kwh"] is None


@pytest.mark.parametrize("flat", [True, False])
def test_a_plan_is_of_the_path_by_which_the_measured_rings_have_added_up(flat):
    """Of a run with allreduce="horovod" more workers pass more bytes, and none of them in shared memory."""
    rows = []
    for count in (1, 2):
        setting = Setting(count, 128, 2, flat=flat and count > 1)
        rows.append(Row(setting, sum(map(float, parts(COSTS, setting, 50_000).values())), {}))
    facts = {"parameters": 50_000, "samples": 1280}
    found = planning._made([Told(tuple(rows), facts, None)], Setting(2, 128, 2), 10, None, 1)
    assert found.base.flat is flat
    few, many = (found.predict(count) for count in (2, 4))
    assert many.setting.flat is flat
    costs = found.law.costs
    by_ring = costs["call"] + 2 * 3 / 4 * 4 * 50_000 * costs["wire"]
    in_memory = costs["meeting"] + costs["byte"] * 4 * 50_000 * 5
    assert many.parts["communicate"] == pytest.approx(by_ring if flat else in_memory)
    assert many.parts["communicate"] > few.parts["communicate"]


def test_a_slow_link_takes_longer_than_a_fast_one_and_hosts_need_one(two_cores):
    slow, fast = (two_cores.predict(4, hosts=2, link=link).step.value for link in ("100mbit/5", "10gbit/0.1"))
    assert slow > fast
    with pytest.raises(ConfigError, match="link"):
        two_cores.predict(4, hosts=2)


def test_halved_numbers_halve_the_bytes_between_hosts_and_take_a_second_sum_of_what_stays_exact(two_cores):
    """What pays for many weights over a link of low latency does not for few over one of high latency."""
    near, far = ({"workers": 4, "hosts": 2, "link": link} for link in ("100mbit/0.1", "100mbit/5"))
    costs = two_cores.law.costs
    passed = 4 * 50_000 * (8 / 1e8 + costs["wire"])
    for where, latency in ((near, 1e-4), (far, 5e-3)):
        whole, half = two_cores.predict(**where), two_cores.predict(**where, wire="float16")
        saved = whole.parts["between"] - half.parts["between"]
        assert saved == pytest.approx(passed / 2 - 4 * costs["messages"] * latency)
        assert two_cores.predict(**where, wire="float32").step == whole.step
    assert two_cores.predict(**near, wire="float16").step.value < two_cores.predict(**near).step.value
    assert two_cores.predict(**far, wire="float16").step.value > two_cores.predict(**far).step.value
    assert two_cores.predict(2, wire="float16").step == two_cores.predict(2).step
    rows = [two_cores.table([4], hosts=2, link="100mbit/0.1", **more) for more in ({}, {"wire": "float16"})]
    assert rows[1].loc[4, "samples_per_second"] > rows[0].loc[4, "samples_per_second"]


def test_advice_on_a_link_names_the_wire_that_it_is_for():
    planned = replace(made(), samples=20_000, base=Setting(2, 12_800, 2, link=Link(1e10, 1e-3)))
    assert planned.advise(wire="float16").options["wire"] == "float16"
    assert planned.advise().prediction.setting.hosts > 1
    assert "wire" not in planned.advise().options
    assert "wire" not in made().advise(wire="float16").options


def test_numbers_of_numpy_are_numbers(two_cores):
    asked = two_cores.predict(np.int64(2), batch=np.int64(64)).setting
    assert (asked.workers, asked.batch) == (2, 64)
    assert type(asked.batch) is int
    patient = made(read_noise(1e6)).advise(batches=np.array([256, 512]))
    assert patient.options["batch_size"] == 512
    assert type(patient.options["batch_size"]) is int


@pytest.mark.parametrize("given", [[], "12", 3])
def test_numbers_of_workers_of_a_table_come_in_a_list(two_cores, given):
    with pytest.raises(ConfigError, match="workers"):
        two_cores.table(given)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"most": 0}, "most"),
        ({"batches": [0]}, "batches"),
        ({"batches": [64.5]}, "batches"),
        ({"batches": []}, "batches"),
        ({"batches": 64}, "batches"),
    ],
)
def test_advice_on_what_can_not_be_is_refused(two_cores, given, field):
    with pytest.raises(ConfigError, match=field):
        two_cores.advise(**given)


@pytest.mark.parametrize("batch", [1, 2, 3, 120, 1280])
def test_a_noise_scale_alone_gives_batches_of_whole_samples(two_cores, batch):
    """None are named: those around the planned one are looked at, of which a quarter need not be whole."""
    base = Setting(1, batch, 2)
    planned = Plan(
        two_cores.law, two_cores.rows, base, samples=1280, epochs=10, noise=read_noise((1.0, 0.5, math.inf))
    )
    advised = planned.advise().options["batch_size"]
    assert type(advised) is int
    assert 1 <= advised <= 8 * batch


def test_hosts_grow_with_the_workers_where_there_is_a_link():
    planned = made()
    found = planned.over(8, link="10gbit/0.1")
    assert [one.setting.hosts for one in found] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_thousands_of_workers_are_looked_at_by_powers_of_two(two_cores):
    wide = Plan(two_cores.law, two_cores.rows, Setting(1, 8192, 2, link=Link(1e10, 1e-4)), 100_000, 1)
    counts = [one.setting.workers for one in wide.over(4096)]
    assert counts[-1] == 4096
    assert counts[16:] == [32, 64, 128, 256, 512, 1024, 2048, 4096]
    assert all(math.isfinite(one.step.high) for one in wide.over(4096))


def test_the_figure_shows_measured_points_the_prediction_and_says_both(two_cores):
    picture = two_cores.figure()
    assert picture.svg.count("<circle") == 4
    assert picture.svg.count("<polygon") == 2
    assert "global batch 128" in picture.text
    assert two_cores.told() in picture.text
    assert two_cores.figure(8, batch=64).svg.count("<circle") == 0
    assert "image/svg+xml" in two_cores._repr_mimebundle_()
    assert two_cores.figure(64).svg.count("<circle") == 4


def test_advice_is_what_launch_takes(two_cores):
    advice = two_cores.advise()
    assert advice.options["workers"] == 2
    assert advice.options["batch_size"] == 128
    assert "as planned" in str(advice)
    assert "instead of 4 and 128" in made(workers=4).advise().text


def test_links_come_from_text_and_from_what_a_check_has_found():
    pairs = (Pair("a", "b", 0.002, 1e8), Pair("b", "a", 0.004, 5e7), Pair("a", "c", problem="closed"))
    assert link_of(Checked((), pairs)) == Link(4e8, 0.002)
    assert link_of("1gbit/1") == Link(1e9, 1e-3)
    assert link_of(None) is None
    with pytest.raises(ConfigError, match="link"):
        link_of("near")


@pytest.fixture
def asked(monkeypatch):
    """What a panel has asked `lk.plan` for; it answers with a plan that is there, or with an error."""
    calls, answers = [], []

    def answer(model, data, tell, **options):
        calls.append((model, data, options))
        tell("a short <run>")
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    monkeypatch.setattr(lk, "plan", answer, raising=False)
    return calls, answers


def test_the_panel_shows_a_plan_and_sets_what_it_advises(two_cores, asked):
    calls, answers = asked
    answers.append(two_cores)
    taken = []
    panel = PlanPanel(ask=lambda: ("model", "data", {"workers": 3}), use=taken.append)
    assert panel.take.disabled
    assert repr(panel) == "<PlanPanel: no plan yet>"
    panel.make.click()
    panel.settled(30)
    assert calls == [("model", "data", {"workers": 3})]
    assert "a third" in panel.told.value
    assert 'alt="Predicted samples/s' in panel.picture.value
    panel.take.click()
    assert taken[0] == two_cores.advise().options
    panel.lock(True)
    assert panel.make.disabled
    assert panel.take.disabled
    panel.close()


def test_a_plan_that_fails_is_said_in_the_panel(asked):
    asked[1].append(ConfigError("data", given="<b>", rule="something"))
    panel = PlanPanel(ask=lambda: (None, None, {}))
    panel.make.click()
    panel.settled(30)
    assert "data" in panel.complaint
    assert not panel.make.disabled
    panel.close()


def test_a_panel_of_a_plan_has_nothing_to_press(two_cores):
    panel = PlanPanel(two_cores)
    assert two_cores.told() in repr(panel)
    assert panel.make.layout.display == panel.take.layout.display == "none"
    panel.close()


@pytest.mark.processes
def test_a_generator_is_read_once_for_all_short_runs():
    """What launch holds out of it counts for every one of them."""

    def batches():
        rng = np.random.default_rng(0)
        for _ in range(12):
            yield rng.normal(size=(20, 8)).astype("float32"), rng.integers(0, 2, 20)

    model = lk.LeptonModel(input_shape=(8,), num_classes=2, hidden_size=8, num_layers=1)
    whole = lk.plan(model, batches(), batch_size=20, seconds=0.05, measured=(1,), epochs=2)
    assert {row.setting.batch for row in whole.rows} == {20, 8}
    assert whole.samples == 240


def test_short_runs_and_a_log_make_plans_and_leave_nothing(tmp_path, capsys):
    data = lk.data.sample("digits")
    model = lk.LeptonModel(input_shape=(8, 8, 1), num_classes=10, hidden_size=16, num_layers=2)
    said = []
    found = lk.plan(model, data, batch_size=64, workers=2, epochs=3, seconds=0.2, tell=said.append)
    assert {(row.setting.workers, row.setting.batch) for row in found.rows} == {
        (1, 64),
        (2, 64),
        (1, 16),
        (2, 16),
    }
    assert len(said) == 2
    assert found.predict(2).seconds is not None
    run = lk.launch(
        model, data, workers=1, batch_size=64, epochs=100_000, log_seconds=0.05, runs_dir=tmp_path
    )
    try:
        while len(run.view().report_steps) < 4:
            time.sleep(0.02)
        of_log = lk.plan(run)
        figure = tmp_path / "plan.svg"
        shell = [
            "--runs-dir",
            str(tmp_path),
            "plan",
            run.id,
            "--workers",
            "1",
            "2",
            "--link",
            "1gbit/0.5",
            "--wire",
            "float16",
            "--figure",
            str(figure),
            "--json",
        ]
        assert main(shell) == 0
    finally:
        run.stop().wait()
    assert [row.setting.workers for row in of_log.rows] == [1]
    assert of_log.predict(4).step.high / of_log.predict(4).step.low > 1.05
    told = json.loads(capsys.readouterr().out)
    assert [row["workers"] for row in told["rows"]] == [1, 2]
    assert told["told"].endswith("(estimated).")
    assert told["advice"]["batch_size"] == 64
    assert figure.read_text().startswith("<svg")
    figure.unlink()
    assert [one.name for one in tmp_path.iterdir()] == [run.id]
