"""Energy is shared and never made; costs follow from a file of prices whose every mistake is named."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lepton_kit.errors import ConfigError
from lepton_kit.planning import cost, energy
from lepton_kit.planning.energy import (
    Energy,
    Reading,
    added,
    between,
    microjoules,
    quiet,
    shares,
    spread_over,
)
from lepton_kit.planning.power import TABLE, Power, architecture, of_cpuinfo, power_of

POWER = Power(idle=10.0, core=5.0, cores=4, spread=(0.5, 2.0), source="a test")
amounts = st.floats(0.0, 1e6, allow_nan=False)
seconds = st.floats(0.001, 1e4)


@given(amounts, seconds, st.dictionaries(st.text(max_size=3), st.floats(0.0, 1e4), max_size=6))
def test_parts_never_add_up_to_more_than_the_whole(joules: float, busy: float, used: dict[str, float]):
    parts = shares(Energy(joules, joules / 2, joules * 2, True, joules / 4), busy, used)
    total = added(parts.values())
    assert total.joules <= joules * (1 + 1e-9)
    assert total.idle <= joules / 4 * (1 + 1e-9)
    told = sum(used.values())
    assert total.joules == pytest.approx(joules * min(1.0, told / busy))
    assert list(parts) == list(used)


@given(st.floats(1.0, 1e4), st.lists(st.floats(0.1, 10.0), min_size=1, max_size=6))
def test_programs_that_use_all_of_a_machine_share_all_of_its_energy(joules: float, used: list[float]):
    parts = shares(
        Energy(joules, joules, joules, True), sum(used), {str(k): one for k, one in enumerate(used)}
    )
    assert added(parts.values()).joules == pytest.approx(joules)


def test_an_idle_machine_is_shared_by_nobody():
    assert shares(Energy(5.0, 5.0, 5.0, True), 0.0, {"one": 0.0})["one"].joules == 0.0
    assert shares(Energy(5.0, 5.0, 5.0, True), 1.0, {}) == {}


@given(st.integers(0, 262_000_000_000), st.floats(0.0, 500.0), st.floats(1.0, 60.0), st.integers(1, 3))
def test_a_counter_that_wraps_tells_what_one_without_an_end_would(
    start: int, watts: float, time: float, packages: int
):
    wrap = 262_000_000_000
    more = watts * time * 1e6
    before = {f"p{k}": (float(start), float(wrap)) for k in range(packages)}
    after = {f"p{k}": (float((start + more) % wrap), float(wrap)) for k in range(packages)}
    found = microjoules(Reading(0.0, before, 0.0), Reading(time, after, 0.0))
    assert found == pytest.approx(packages * more, abs=1e3)


def read(at: float, why: str | None = None, **counters: float) -> Reading:
    return Reading(at, {name: (value, 262e9) for name, value in counters.items()}, 0.0, why)


def test_counters_that_can_not_tell_for_sure_tell_nothing():
    assert microjoules(read(0, a=1e9), read(5, a=2e9)) == 1e9
    assert microjoules(read(0, a=1e9), read(5, a=2e9, b=1e9)) is None  # one has come
    assert microjoules(read(0, a=1e9, b=1e9), read(5, a=2e9)) is None  # one has gone
    assert microjoules(read(0), read(5)) is None
    assert microjoules(read(0, a=1e9), read(5, "no right", a=2e9)) is None
    assert microjoules(read(0, "no right", a=1e9), read(5, a=2e9)) is None
    assert microjoules(read(0, a=1e9), read(200, a=2e9)) is None  # it may have wrapped twice
    assert microjoules(read(0, a=1e9), read(131, a=2e9)) is None  # so it may here: 2 kW wrap it just then
    assert microjoules(read(0, a=1e9), read(130, a=2e9)) == 1e9
    assert microjoules(read(0, a=200e9), read(5, a=0.0)) is None  # it was set back: 62 kJ in 5 s are too much
    changed = Reading(5, {"a": (2e9, 65e9)}, 0.0)
    assert microjoules(read(0, a=1e9), changed) is None


def test_a_counter_may_stand_still_or_tell_the_most_that_is_believed():
    assert microjoules(read(0, a=5e9), read(5, a=5e9)) == 0.0
    assert microjoules(read(0, a=0.0), read(5, a=10e9)) == 10e9
    assert microjoules(read(0, a=0.0), read(5, a=10.1e9)) is None


@given(st.floats(1.0, 1e6), st.floats(0.25, 60.0), st.floats(0.0, 500.0), st.floats(0.0, 4.0))
def test_an_interval_counts_from_its_begin_whenever_that_was(
    begin: float, long: float, watts: float, cores: float
):
    def found(at: float, told: bool) -> energy.Interval:
        counted = watts * long * 1e6
        before = Reading(at, {"a": (1e9, 262e9)} if told else {}, 1e3)
        after = Reading(at + long, {"a": (1e9 + counted, 262e9)} if told else {}, 1e3 + cores * long)
        return between(before, after, POWER, None)

    for told in (True, False):
        later, once = found(begin, told), found(0.0, told)
        assert (later.begin, later.end) == (begin, begin + long)
        assert later.energy.measured == once.energy.measured == told
        assert later.energy.joules == pytest.approx(once.energy.joules, rel=1e-6, abs=1e-6)
        assert later.energy.idle == pytest.approx(once.energy.idle, rel=1e-6, abs=1e-6)
        assert later.busy == pytest.approx(cores * long)
        wanted = watts if told else 10.0 + 5.0 * cores
        assert once.energy.joules / long == pytest.approx(wanted, abs=1e-4)
        assert quiet(later, POWER.cores) == pytest.approx(quiet(once, POWER.cores))


def test_two_readings_at_one_moment_have_nothing_between_them():
    found = between(read(3.0, "none"), Reading(3.0, {}, 1.0, "none"), POWER, None)
    assert (found.energy.joules, found.energy.idle, found.busy) == (0.0, 0.0, 1.0)
    assert between(Reading(3.0, {}, 2.0), Reading(4.0, {}, 1.0), POWER, None).busy == 0.0  # set back


def test_an_interval_is_measured_where_the_counters_tell_and_estimated_elsewhere():
    before = Reading(0.0, {"a": (0.0, 262e9)}, 0.0)
    found = between(before, Reading(10.0, {"a": (400e6, 262e9)}, 20.0), POWER, None)
    assert (found.energy.joules, found.energy.measured, found.why) == (400.0, True, None)
    assert (found.energy.low, found.energy.high) == (380.0, 420.0)
    assert found.energy.idle == pytest.approx(400.0 * 10 / 20)
    assert between(before, Reading(10.0, {"a": (400e6, 262e9)}, 20.0), POWER, 30.0).energy.idle == 300.0
    assert between(before, Reading(10.0, {"a": (200e6, 262e9)}, 20.0), POWER, 30.0).energy.idle == 200.0
    guessed = between(before, Reading(10.0, {}, 20.0, "none here"), POWER, None)
    assert (guessed.energy.joules, guessed.energy.idle, guessed.why) == (200.0, 100.0, "none here")
    assert (guessed.energy.low, guessed.energy.high, guessed.energy.origin) == (100.0, 400.0, "estimated")
    assert between(before, Reading(10.0, {"b": (0.0, 1.0)}, 0.0), POWER, None).why is not None


def test_a_machine_is_quiet_when_it_hardly_works_for_long_enough():
    before = Reading(0.0, {"a": (0.0, 262e9)}, 0.0)

    def found(at: float, busy: float, told: bool = True) -> float | None:
        after = Reading(at, {"a": (60e6, 262e9)} if told else {}, busy)
        return quiet(between(before, after, POWER, None), POWER.cores)

    assert found(5.0, 1.0) == 12.0
    assert found(5.0, 1.1) is None
    assert found(1.9, 0.0) is None
    assert found(2.0, 0.0) == 30.0
    assert found(5.0, 0.0, told=False) is None


def test_parts_are_added_in_all_that_they_say():
    one, other = Energy(1.0, 0.5, 2.0, True, 0.25), Energy(2.0, 1.5, 3.0, True, 1.0)
    assert added([]) == Energy(0.0, 0.0, 0.0, True)
    assert added([one, other]) == one + other == Energy(3.0, 2.0, 5.0, True, 1.25)
    guess = Energy(4.0, 3.0, 5.0, False, 1.0)
    assert added([one, guess, other]) == Energy(7.0, 5.0, 10.0, False, 2.25)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10), amounts), max_size=5))
def test_spans_that_cover_all_of_time_have_all_of_the_energy(rows: list[tuple[float, float, float]]):
    parts = [(begin, begin + long, Energy(joules, joules, joules, True)) for begin, long, joules in rows]
    spans = [(0.0, 30.0), (30.0, 45.5), (45.5, 200.0)]
    assert sum(one.joules for one in spread_over(parts, spans)) == pytest.approx(sum(row[2] for row in rows))


@given(st.one_of(st.just(0.0), seconds), st.floats(0.0, 8.0), st.floats(0.0, 1.0))
def test_a_plan_takes_the_watts_of_its_cores(time: float, cores: float, share: float):
    found = energy.of(time, cores, POWER, share)
    assert found.joules == pytest.approx(time * (10.0 * share + 5.0 * min(cores, 4.0)), abs=1e-6)
    assert found.low <= found.joules <= found.high
    assert found.idle == pytest.approx(time * 10.0 * share)
    assert energy.of(2 * time, cores, POWER, share).joules == pytest.approx(2 * found.joules)


@pytest.mark.parametrize("wrong", [(-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, 1.5), (1.0, 1.0, -0.5)])
def test_a_plan_below_zero_is_refused(wrong: tuple[float, float, float]):
    with pytest.raises(ValueError, match="below 0 or above 1"):
        energy.of(wrong[0], wrong[1], POWER, wrong[2])


def test_the_table_has_a_row_for_each_architecture_and_full_takes_more_than_idle():
    assert all(0 < idle < full for idle, full in TABLE.values())
    for name, steppings in [("Skylake", (0, 4)), ("Cascade Lake", (5, 7)), (None, (8, 11))]:
        assert [architecture("GenuineIntel", 6, 85, one) for one in steppings] == [name, name]
    assert architecture("GenuineIntel", 6, 85) == "Skylake"
    assert architecture("GenuineIntel", 15, 85, 4) is None
    assert architecture("ARM", 6, 85, 4) is None
    assert architecture("AuthenticAMD", 26, 2) is None
    known, unknown = power_of("Haswell", 4), of_cpuinfo("", 4)
    assert known.watts(4.0) == pytest.approx(4 * 5.60)
    assert 0 < known.idle_share < 1
    assert "not in the table" in unknown.source
    assert unknown.spread[0] < known.spread[0] < known.spread[1] < unknown.spread[1]
    for idle, full in TABLE.values():
        assert (
            unknown.watts(4) * unknown.spread[0]
            <= 4 * full * 1.01
            <= unknown.watts(4) * unknown.spread[1] * 1.02
        )
        assert idle < full


def test_a_processor_that_is_not_in_the_table_takes_its_mean_and_may_be_any_of_its_rows():
    mean = [sum(row[place] for row in TABLE.values()) / len(TABLE) for place in (0, 1)]
    full = [row[1] for row in TABLE.values()]
    unknown, known = power_of(None, 8), power_of("Ice Lake", 8)
    assert unknown.watts(0.0) == pytest.approx(8 * mean[0])
    assert unknown.watts(8.0) == unknown.watts(99.0) == pytest.approx(8 * mean[1])
    assert unknown.idle_share == pytest.approx(mean[0] / mean[1])
    assert unknown.watts(8.0) * unknown.spread[0] == pytest.approx(8 * min(full) * known.spread[0], rel=0.02)
    assert unknown.watts(8.0) * unknown.spread[1] == pytest.approx(8 * max(full) * known.spread[1], rel=0.02)
    assert (unknown.measured, known.measured) == (False, False)
    assert Power(0.0, 0.0, 4).idle_share == 0.0


def test_a_processor_is_known_by_what_it_says_first():
    text = "vendor_id : GenuineIntel\ncpu family : 6\nmodel : {}\nmodel name : x\nstepping : {}\n"
    later = "\nvendor_id : AuthenticAMD\ncpu family : 25\nmodel : 17\n"
    assert of_cpuinfo(text.format(85, 7) + later, 4).source.startswith("Cascade Lake: ")
    assert of_cpuinfo(later, 4).source.startswith("EPYC 4th generation: ")
    for nonsense in (text.format("x", 7), text.format("-1", 7), "no colon\n" + text.format("", "")):
        assert "not in the table" in of_cpuinfo(nonsense, 4).source


# ------------------------------------------------------------------ money

KWH = Energy(3.6e6, 1.8e6, 7.2e6, True)
TOLD: dict[str, Any] = {
    "date": "2026-01-01",
    "electricity": {"per_kwh": 0.5, "currency": "EUR", "date": "2026-01-01", "source": "a bill"},
    "machine": {"price": 3600, "years": 2, "hours_per_year": 1800, "currency": "EUR", "date": "2026-01-01", "source": "b"},
    "cloud": {"small": {"per_hour": 2.0, "currency": "USD", "date": "2026-01-01", "source": "c"}},
    "carbon": {"grams_per_kwh": 40, "date": "2026-01-01", "source": "d"},
}  # fmt: skip


def test_money_is_electricity_and_the_machines_hours_or_those_of_an_instance():
    prices = cost.read(TOLD)
    own = cost.of(KWH, 7200.0, prices)
    assert (own.amount, own.low, own.high, own.currency) == (2.5, 2.25, 3.0, "EUR")
    assert own.parts == {"electricity": 0.5, "machine": 2.0}
    assert own.origin == "estimated"
    plain = cost.of(KWH, 7200.0, cost.read({"date": "2026-01-01", "electricity": TOLD["electricity"]}))
    assert (plain.amount, plain.origin) == (0.5, "measured")
    assert plain.scaled(0.5) == cost.Money(0.25, 0.125, 0.5, "EUR", True, {"electricity": 0.25})
    worn = cost.of(KWH, 1800.0, cost.read({"date": "2026-01-01", "machine": TOLD["machine"]}))
    assert worn == cost.Money(0.5, 0.5, 0.5, "EUR", False, {"machine": 0.5})
    idle = cost.of(Energy(0.0, 0.0, 0.0, True), 0.0, prices)
    assert (idle.amount, str(idle)) == (0.0, "0 EUR (estimated, 0 to 0)")
    rented = cost.of(KWH, 1800.0, prices, "small")
    assert (rented.amount, rented.low, rented.high, rented.currency, rented.origin) == (
        1.0,
        1.0,
        1.0,
        "USD",
        "estimated",
    )
    with pytest.raises(ConfigError, match=r"instance: got 'smal'; .* small; did you mean small\?"):
        cost.of(KWH, 1.0, prices, "smal")
    with pytest.raises(ConfigError, match="a price of electricity or of a machine"):
        cost.of(KWH, 1.0, cost.read({"date": "2026-01-01"}))


def test_small_amounts_are_told_in_millionths():
    money = cost.Money(0.00099, 0.0005, 0.002, "EUR", True, {})
    assert str(money) == "990 millionths of a EUR (measured, 500 to 2,000)"
    assert str(money.scaled(2.0)) == "0.00198 EUR (measured, 0.001 to 0.004)"
    assert cost.Money(0.001, 0.0, 0.0, "EUR", True, {}).unit == ("EUR", 1.0)


def test_prices_say_what_they_are_for_and_may_be_nothing():
    free = copy.deepcopy(TOLD)
    free["electricity"]["per_kwh"] = free["machine"]["price"] = free["carbon"]["grams_per_kwh"] = 0
    free["machine"]["hours_per_year"] = 8784
    found = cost.read(free, "mine.yaml")
    assert cost.of(KWH, 3600.0, found).amount == 0.0
    assert cost.grams(KWH, 0) == (0.0, 0.0, 0.0)
    told = cost.read(TOLD, "mine.yaml")
    assert str(told.electricity) == "0.5 EUR a kWh: a bill, 2026-01-01"
    assert str(told.machine) == "1 EUR an hour: b, 2026-01-01"
    assert str(told.cloud["small"]) == "2 USD an hour: c, 2026-01-01"
    assert str(told.carbon) == "40 g a kWh: d, 2026-01-01"
    assert told.file == "mine.yaml"


def test_carbon_has_the_intensity_that_was_given():
    assert cost.grams(KWH, 40) == (40.0, 20.0, 80.0)
    for wrong in (-1.0, float("nan"), True):
        with pytest.raises(ConfigError, match="grams_per_kwh"):
            cost.grams(KWH, wrong)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            ("electricity", "per_kwh"),
            "much",
            "electricity.per_kwh: got 'much'; expected a number of at least 0",
        ),
        (("electricity", "per_kwh"), True, "electricity.per_kwh"),
        (("electricity", "currency"), None, "electricity.currency: got None; expected a currency"),
        (("electricity", "source"), " ", "electricity.source"),
        (("electricity", "date"), "soon", "electricity.date: got 'soon'; expected a date such as"),
        (("electricity", "per_kw"), 1, "got 'per_kw'; .*did you mean per_kwh"),
        (("machine", "years"), 0, "machine.years: got 0; expected a number above 0"),
        (("machine", "hours_per_year"), 9000, "at most 8784"),
        (("machine", "currency"), "USD", "machine.currency: got 'USD'; expected EUR"),
        (("cloud", "small"), 3, "cloud.small: got 3; expected names with values"),
        (("cloud", "small", "per_hour"), -2, "cloud.small.per_hour"),
        (("carbon", "grams_per_kwh"), float("inf"), "carbon.grams_per_kwh"),
        (("date",), None, "date: got None; expected a date"),
        (("elektricity",), {}, "field: got 'elektricity'; .*did you mean electricity"),
    ],
)
def test_a_wrong_price_is_named(tmp_path: Path, path: tuple[str, ...], value: Any, said: str):
    told = copy.deepcopy(TOLD)
    part = told
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError, match=f"^mine.yaml: .*{said}" if not said.startswith("mine") else said):
        cost.load(file)


def test_a_file_that_is_no_file_of_prices_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        cost.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="prices: got 3; expected the path"):
        cost.load(3)  # type: ignore[arg-type]  # what a user may give
    for text in ("- 1", "3: 4", "a: [", "\x00", "date: 2026-02-30", "[" * 5000):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"bad\.yaml"):
            cost.load(tmp_path / "bad.yaml")


def test_the_shipped_prices_are_whole_and_guess_no_country():
    found = cost.load()
    assert found.electricity is not None
    assert found.electricity.date <= found.date
    assert all(one.date and one.source and one.currency for one in [found.electricity, *found.cloud.values()])
    assert (found.carbon, found.machine) == (None, None)


def test_energies_read_well():
    assert str(Energy(1500.0, 1000.0, 2000.0, False)) == "1.5 kJ (estimated, 1 kJ to 2 kJ)"
    assert [energy.shown(one) for one in (0.0, 5e-6, 0.5, 36e6)] == ["0 J", "5 µJ", "500 mJ", "10 kWh"]
