"""FPGA designs: their options, the emulation's accuracy on real digits, and tagged estimates."""

import importlib.util
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lepton_kit as lk
from lepton_kit.deploy import fpga
from lepton_kit.deploy.fpga_build import bits, count_luts, fit_for_fpga, reuse_for
from lepton_kit.deploy.fpga_fit import check_layers, unfit
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.errors import CompressionError

needs_hls4ml = pytest.mark.skipif(
    importlib.util.find_spec("hls4ml") is None or shutil.which("g++") is None,
    reason="hls4ml comes with the extra lepton_kit[fpga], g++ with the system",
)
needs_alkaid = pytest.mark.skipif(
    importlib.util.find_spec("alkaid") is None, reason="alkaid comes with the extra lepton_kit[fpga]"
)
needs_yosys = pytest.mark.skipif(
    shutil.which("yosys") is None, reason="yosys is a program of the system; it only checks the estimate"
)


def image(*middle):
    import keras

    return keras.Sequential([keras.Input((7, 7, 2)), *middle, keras.layers.Flatten(), keras.layers.Dense(2)])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "SeparableConv2D",
            {"filters": 2, "kernel_size": 3},
            "replace it by DepthwiseConv2D and a 1x1 Conv2D",
        ),
        (
            "Conv2D",
            {"filters": 2, "kernel_size": 3, "activation": "hard_sigmoid"},
            "its hard_sigmoid is not Keras'",
        ),
        ("Conv2D", {"filters": 2, "kernel_size": 3, "dilation_rate": 2}, "its dilation would be left out"),
        ("Conv2D", {"filters": 2, "kernel_size": 3, "groups": 2}, "its groups would be left out"),
        (
            "Conv2D",
            {"filters": 2, "kernel_size": 3, "activation": "gelu"},
            "it has no form of gelu; use one of linear, relu",
        ),
        ("ReLU", {"max_value": 4.0}, "its bound 4 has no form"),
        ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}, "use depth_multiplier=1"),
        ("Flatten", {"data_format": "channels_first"}, "it counts channels first"),
        (
            "MaxPooling2D",
            {"pool_size": 3, "strides": 2},
            r"windows \(3, 3\) with strides \(2, 2\) overlap or leave gaps",
        ),
        ("AveragePooling2D", {"pool_size": 2, "strides": 1}, "overlap or leave gaps"),
    ],
)
def test_what_hls4ml_builds_otherwise_or_aborts_on_is_refused_before_any_process_starts(
    kind, settings, message, tmp_path, monkeypatch
):
    import keras

    def start(*given, **more):
        raise AssertionError("a process was started")

    monkeypatch.setattr(fpga, "missing", lambda: None)
    monkeypatch.setattr(fpga, "Workshop", start)
    inner = keras.Sequential(
        [keras.Input((7, 7, 2)), getattr(keras.layers, kind)(name="odd", **settings)], name="inner"
    )
    for number, model in enumerate((image(*inner.layers), image(inner))):
        model.save(tmp_path / f"{number}.keras")
        data = (np.zeros((4, 7, 7, 2), np.float32), np.array([0, 1, 0, 1])) * 2
        with pytest.raises(
            CompressionError, match=rf"layer 'odd' \({kind}\) can't be built with hls4ml: .*{message}"
        ):
            fpga.convert(tmp_path / f"{number}.keras", data=data)


@needs_hls4ml
def test_pooling_that_pads_is_refused_by_name_and_pooling_that_leaves_places_out_is_not():
    import keras

    pool = keras.layers.MaxPooling2D(2, padding="same", name="pool")
    with pytest.raises(
        CompressionError, match=r"layer 'pool' .* padding 'same' would pad \(7, 7\) for windows \(2, 2\)"
    ):
        fit_for_fpga(image(pool))
    assert fit_for_fpga(image(keras.layers.MaxPooling2D(2, name="pool")))[0].get_layer("pool")
    assert fit_for_fpga(image(keras.layers.MaxPooling2D(7, padding="same", name="pool")))[0].get_layer("pool")


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("LSTM", {"stateful": True}, "it keeps its state between calls"),
        ("GRU", {"reset_after": False}, "use reset_after=True"),
        ("SimpleRNN", {"units": 4}, "use GRU or LSTM"),
        ("GroupNormalization", {"groups": 4}, None),
        ("GRU", {"reset_after": True, "activation": "tanh", "recurrent_activation": "sigmoid"}, None),
    ],
)
def test_settings_of_other_layers(kind, settings, message):
    why = unfit(kind, {"name": "one", **settings})
    assert why is None if message is None else message in why


@needs_hls4ml
def test_open_sizes_and_operations_of_the_graph_are_refused():
    import keras

    open_size = keras.Sequential([keras.Input((None, 3)), keras.layers.Conv1D(2, 3)])
    with pytest.raises(CompressionError, match=r"takes samples of an open size, \(None, 3\)"):
        fit_for_fpga(open_size)
    x = keras.Input((3,))
    with pytest.raises(
        CompressionError, match=r"operation 'sin\w*' \(Sin\) of the graph has no form in hls4ml"
    ):
        fit_for_fpga(keras.Model(x, keras.layers.Dense(2)(keras.ops.sin(x))))


def test_a_sequence_is_not_read_backwards_in_silence():
    settings = {"name": "back", "go_backwards": True}
    with pytest.raises(CompressionError, match=r"layer 'back' \(LSTM\).*it would go forwards"):
        check_layers({"class_name": "LSTM", "config": settings})
    both = {
        "layer": {"class_name": "LSTM", "config": {"name": "there"}},
        "backward_layer": {"class_name": "LSTM", "config": settings},
    }
    check_layers({"class_name": "Bidirectional", "config": both})


@given(st.integers(1, 5000), st.integers(1, 600))
def test_a_reuse_factor_fits_its_layer(wanted, fan_in):
    factor = reuse_for(wanted, fan_in)
    assert 1 <= factor <= min(wanted, fan_in)
    assert fan_in % factor == 0
    assert not any(fan_in % other == 0 for other in range(factor + 1, min(wanted, fan_in) + 1))


def test_precisions_are_read_and_checked():
    assert bits("ap_ufixed<8, 0>") == (8, 0, False)
    for wrong in ("ap_fixed<16>", "float", "ap_fixed<4,6>", "ap_fixed<0,0>", "ap_fixed<99,6>"):
        with pytest.raises(CompressionError, match="precision: got"):
            bits(wrong)


def test_only_the_last_table_of_yosys_counts():
    assert (
        count_luts("Number of cells: 5\n LUT2 5\n=== model ===\nNumber of cells: 9\n LUT3 2\n CARRY4 4\n")
        == 2
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision: got 'int8'"),
        ({"reuse_factor": 0}, "reuse_factor: got 0"),
        ({"reuse_factor": 1.5}, "reuse_factor: got 1.5"),
        ({"io": "serial"}, "io: got 'serial'"),
    ],
)
def test_wrong_options_are_refused_before_any_work(options, message):
    with pytest.raises(CompressionError, match=message):
        fpga.convert("model.keras", **options)


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setattr(fpga.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompressionError, match=r"needs hls4ml; install lepton_kit\[fpga\]"):
        fpga.convert("model.keras")
    monkeypatch.undo()
    if importlib.util.find_spec("hls4ml"):
        monkeypatch.setattr(fpga.shutil, "which", lambda name: None)
        with pytest.raises(CompressionError, match="compiler g"):
            fpga.convert("model.keras")


def design(**changes):
    figure = Figure(0.9, "measured", 0.85, 0.95)
    values = {"luts": Figure(1000.0, "estimated")}
    made = fpga.FpgaModel(
        "ap_fixed<8,3>",
        1,
        "io_parallel",
        "accuracy",
        figure,
        figure,
        Figure(0.0, "measured"),
        values,
        ("a note",),
    )
    return replace(made, **changes)


def test_a_design_joins_the_card_of_the_cpu_once():
    cpu = Row("float32", "LiteRT", role="float", figures={"score": Figure(0.9, "measured")})
    card = ReportCard((cpu,), "accuracy", True, 100)
    both = design().added_to(design().added_to(card))
    assert [row.target for row in both.rows] == ["CPU", "FPGA"]
    table = both.table()
    assert table.loc["fpga ap_fixed<8,3> reuse 1", "LUTs"] == 1000
    assert both.table(origins=True).loc["fpga ap_fixed<8,3> reuse 1", "LUTs"] == "estimated"
    with pytest.raises(CompressionError, match="judged by mean absolute error"):
        design(metric="mean absolute error").added_to(card)


TRACE = {"model": "m.keras", "check": True}
TRACED = {"luts": 100.0, "flip_flops": 50.0, "dsps": 0.0, "cycles": 3.0}


def test_a_vendor_report_takes_the_place_of_the_estimate():
    figures, counted, notes = fpga.resources(None, TRACED, TRACE, estimate=True)
    assert {figure.value for figure in figures.values()} == set(TRACED.values())
    assert notes == ["estimated by the vendor's C synthesis"]
    assert counted.origin == "not_run"


def test_why_there_is_no_estimate_is_told(monkeypatch):
    def refuse(function, **arguments):
        raise CompressionError("91,776 multiplications are too many to unroll (at most 30,000)\nmore")

    monkeypatch.setattr(fpga.importlib.util, "find_spec", lambda name: object())
    asked = fpga.resources(refuse, None, TRACE, estimate=False)
    failed = fpga.resources(refuse, None, TRACE, estimate=True)
    monkeypatch.setattr(fpga.importlib.util, "find_spec", lambda name: None)
    lacking = fpga.resources(refuse, None, TRACE, estimate=True)
    for (figures, _, notes), why in (
        (asked, "not asked for"),
        (failed, "91,776 multiplications are too many to unroll (at most 30,000)"),
        (lacking, "no vendor tool, and alkaid is not installed (lepton_kit[fpga])"),
    ):
        assert {figure.note for figure in figures.values()} == {why}
        assert {figure.origin for figure in figures.values()} == {"not_run"}
        assert notes == [f"resources not run: {why}"]


def test_yosys_checks_the_estimate_where_it_is_installed(monkeypatch):
    calls = []

    def trace(function, **arguments):
        calls.append(arguments["check"])
        return TRACED | ({"yosys_luts": 110.0} if arguments["check"] else {})

    monkeypatch.setattr(fpga.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(fpga.shutil, "which", lambda name: None)
    _, counted, notes = fpga.resources(trace, None, TRACE, estimate=True)
    assert (counted.note, len(notes)) == ("yosys is not installed", 1)
    monkeypatch.setattr(fpga.shutil, "which", lambda name: "/usr/bin/yosys")
    _, counted, notes = fpga.resources(trace, None, TRACE, estimate=True)
    assert counted.value == 110
    assert notes[1] == "alkaid estimates 100 LUTs; yosys maps the same design to 110"
    assert calls == [False, True]


@pytest.fixture(scope="module")
def small_dense(digits, tmp_path_factory):
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((64,), name="input"),
            layers.Rescaling(2.0, offset=-1.0, name="rescale"),
            layers.Dense(12, activation="relu", name="hidden"),
            layers.Dense(10, activation="softmax", name="out"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(digits[0].reshape(-1, 64), digits[1], batch_size=64, epochs=6, verbose=0)
    path = tmp_path_factory.mktemp("fpga") / "dense.keras"
    model.save(path)
    x, y, held, labels = digits
    return path, (x.reshape(-1, 64), y, held.reshape(-1, 64), labels)


@needs_hls4ml
@needs_alkaid
@pytest.mark.processes
def test_the_emulation_agrees_with_keras_and_the_estimate_is_tagged(workshop, small_dense):
    made = fpga.convert(small_dense[0], "ap_fixed<12,5>", 1, small_dense[1], call=workshop)
    assert made.float_score.value > 0.85
    assert abs(made.difference.value) < 0.03
    assert made.score.origin == "measured"
    assert made.io == "io_parallel"
    assert made.figures["luts"].origin == "estimated"
    assert 500 < made.figures["luts"].value < 100_000
    assert made.figures["cycles"].value >= 1
    assert any("rescale: done before the FPGA" in note for note in made.notes)


@needs_hls4ml
@pytest.mark.processes
@pytest.mark.long
def test_a_reuse_factor_beyond_a_convolution_is_lowered_and_stays_right(workshop, digits, tmp_path):
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(2, 3, activation="relu", name="conv"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(10, name="out"),
        ]
    )
    model.save(tmp_path / "conv.keras")
    few = (digits[0][:50], digits[1][:50], digits[2][:60], digits[3][:60])
    made = fpga.convert(tmp_path / "conv.keras", "ap_fixed<18,6>", 24, few, estimate=False, call=workshop)
    assert any("reuse factor 24 lowered" in note and "conv 9" in note for note in made.notes)
    assert abs(made.difference.value) <= 2 / 60
    assert made.figures["luts"].origin == "not_run"


@needs_hls4ml
@pytest.mark.processes
def test_an_unsupported_layer_is_named(workshop, tmp_path):
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.LayerNormalization(name="odd"), keras.layers.Dense(2, name="out")]
    )
    model.save(tmp_path / "odd.keras")
    data = (np.zeros((4, 4), np.float32), np.array([0, 1, 0, 1])) * 2
    with pytest.raises(CompressionError, match=r"layer 'odd' \(LayerNormalization\) has no form in hls4ml"):
        fpga.convert(tmp_path / "odd.keras", data=data, call=workshop)


@needs_hls4ml
@needs_alkaid
@pytest.mark.processes
@pytest.mark.long
def test_a_convolutional_network_of_sixteen_bits_is_estimated(workshop, digits, tmp_path):
    model = lk.LeptonModel(input_shape=(8, 8, 1), num_classes=10, hidden_size=8, num_layers=2)
    data = lk.data.arrays(digits[0], digits[1], validation=(digits[2], digits[3]))
    model.train(data.prepare(), epochs=6, learning_rate=0.01)
    model.save(tmp_path / "conv.keras")
    made = fpga.convert(tmp_path / "conv.keras", "ap_fixed<16,6>", 1, digits, call=workshop)
    assert {figure.origin for figure in made.figures.values()} == {"estimated"}
    assert made.figures["luts"].value > 10_000
    own = next(note for note in made.notes if "the design that alkaid estimates has accuracy" in note)
    assert abs(float(own.split("accuracy ")[1].split()[0]) - made.float_score.value) < 0.02


@needs_alkaid
@needs_yosys
@pytest.mark.processes
def test_yosys_counts_about_what_alkaid_estimates(workshop, tmp_path):
    import keras

    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, activation="relu", name="conv"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(4, name="out"),
        ]
    )
    model.save(tmp_path / "tiny.keras")
    x = np.random.default_rng(0).random((20, 4, 4, 1), np.float32).round(2)
    np.save(tmp_path / "x.npy", x)
    found = workshop(
        "lepton_kit.deploy.fpga_build:trace_estimate",
        model=str(tmp_path / "tiny.keras"),
        folder=str(tmp_path / "rtl"),
        precision="ap_fixed<12,4>",
        samples=str(tmp_path / "x.npy"),
        output=str(tmp_path / "y.npy"),
        check=True,
    )
    assert 0.8 < found["yosys_luts"] / found["luts"] < 1.4
    assert np.allclose(np.load(tmp_path / "y.npy"), model.predict_on_batch(x), atol=0.05)
