"""The FPGA as an inference target: bit-accurate emulation with hls4ml, and what the design would cost on a chip."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_kit.deploy.fpga_build import bits
from lepton_kit.deploy.fpga_fit import check_layers
from lepton_kit.deploy.report import scoring
from lepton_kit.deploy.report.card import ReportCard
from lepton_kit.deploy.report.flags import flags
from lepton_kit.deploy.report.rows import Figure, Row
from lepton_kit.deploy.report.yardstick import yardstick
from lepton_kit.deploy.subject import find_subject
from lepton_kit.errors import CompressionError
from lepton_kit.models.description import read_config
from lepton_kit.processes.isolated import Call, Crash, Workshop

MODULE = "lepton_kit.deploy.fpga_build"
IO = ("auto", "parallel", "stream")
RESOURCES = ("luts", "flip_flops", "dsps", "cycles")


@dataclass(frozen=True)
class FpgaModel:
    """A design and its figures. The score is measured with the emulation, which computes bit by bit what the chip would.

    ``figures`` holds luts, flip_flops, dsps and cycles; ``check`` what yosys counted, where it was asked.
    """

    precision: str
    reuse_factor: int
    io: str
    metric: str
    score: Figure
    float_score: Figure
    difference: Figure
    figures: dict[str, Figure]
    notes: tuple[str, ...]
    folder: Path | None = None
    check: Figure = field(default_factory=lambda: Figure.not_run("not asked for"))

    def __repr__(self) -> str:
        return f"FpgaModel({self.precision}, reuse factor {self.reuse_factor}, {self.io})"

    @property
    def name(self) -> str:
        """How the design is called on a card."""
        return f"fpga {self.precision} reuse {self.reuse_factor}"

    def row(self) -> Row:
        """The design as a row of a report card, beside the CPU's."""
        latency = Figure.not_run("needs the clock that the vendor's synthesis reaches on a chip")
        return Row(
            self.name,
            "hls4ml, emulated",
            self.precision,
            target="FPGA",
            figures={
                "score": self.score,
                "difference": self.difference,
                "latency_1_one": latency,
                **self.figures,
            },
            notes=self.notes,
        )

    def added_to(self, card: ReportCard) -> ReportCard:
        """The card with this row, so that CPU and FPGA stand in one table; an older row of that name is replaced."""
        if card.metric != self.metric:
            raise CompressionError(f"the card holds {card.metric}; this design was judged by {self.metric}")
        rows = (*(row for row in card.rows if row.name != self.name), self.row())
        return replace(
            card,
            rows=tuple(
                replace(row, flags=flags(row, rows, higher_is_better=card.higher_is_better)) for row in rows
            ),
        )


def missing() -> str | None:
    """What this machine lacks for the emulation, and what to do; None if it lacks nothing."""
    if importlib.util.find_spec("hls4ml") is None:
        return "fpga: needs hls4ml; install lepton_kit[fpga]"
    if shutil.which("g++") is None:
        return "fpga: needs the compiler g++ for the emulation; install g++"
    return None


def convert(
    model: Any,
    precision: str = "ap_fixed<16,6>",
    reuse_factor: int = 1,
    data: Any = None,
    *,
    io: str = "auto",
    estimate: bool = True,
    check: bool = False,
    synthesize: bool = True,
    folder: str | Path | None = None,
    call: Call | None = None,
) -> FpgaModel:
    """Turn a dense, small convolutional or recurrent model into an FPGA design and judge it on held-out samples.

    Parameters
    ----------
    model, data : what `compress` takes.
    precision : number format ``ap_fixed<W,I>``: W bits, I of them before the point. reuse_factor : how often one
        multiplier is used per inference; larger is smaller and slower. It is lowered where a layer can't have it.
    io : ``parallel`` (all at once), ``stream`` (pixel by pixel, for larger layers), ``auto``.
    estimate : trace the design with alkaid for LUTs and pipeline stages. check : let yosys count them too (slow).
    synthesize : run the vendor's tool where it is installed; its figures then replace the estimate.

    Raises `CompressionError` that names an unsupported layer, a wrong option, or the missing package or compiler.
    """
    bits(precision)
    if isinstance(reuse_factor, bool) or not isinstance(reuse_factor, int) or reuse_factor < 1:
        raise CompressionError(f"reuse_factor: got {reuse_factor!r}; expected a whole number of at least 1")
    if io not in IO:
        raise CompressionError(f"io: got {io!r}; expected one of {', '.join(IO)}")
    lacking = missing()
    if lacking is not None:
        raise CompressionError(lacking)
    from lepton_kit.data.prepared import open_folder

    with tempfile.TemporaryDirectory(prefix="lepton-fpga-") as temporary, contextlib.ExitStack() as stack:
        home = Path(temporary)
        model_path, data_path = find_subject(model, data, home)
        check_layers(read_config(model_path))
        run = call or stack.enter_context(Workshop())
        prepared = open_folder(data_path)
        held = prepared.validation
        assert held is not None
        if not isinstance(held.x, np.ndarray) or not isinstance(held.y, np.ndarray):
            raise CompressionError("data: got several inputs or targets; the FPGA path handles one of each")
        yard = yardstick(model_path, prepared)
        np.save(home / "held_out.npy", np.asarray(held.x))
        project = Path(folder) if folder is not None else home / "project"
        try:
            said = run(
                f"{MODULE}:emulate",
                model=str(model_path),
                folder=str(project),
                precision=precision,
                reuse_factor=reuse_factor,
                io=io,
                samples=str(home / "held_out.npy"),
                output=str(home / "answers.npz"),
                synthesize=synthesize,
            )
        except Crash as crash:
            raise CompressionError(f"hls4ml: the emulated design was ended by {crash.signal_name}") from None
        with np.load(home / "answers.npz") as answers:
            score = yard.score([answers["fpga"]], held.y, w=held.w)
            reference = yard.score([answers["keras"]], held.y, w=held.w)
        traced = home / "traced.npy"
        trace = {
            "model": str(model_path),
            "folder": str(home / "trace"),
            "precision": precision,
            "samples": str(home / "held_out.npy"),
            "output": str(traced),
            "check": check,
        }
        figures, counted, more = resources(run, said["vendor"], trace, estimate)
        if traced.is_file():
            own = yard.score([np.load(traced)], held.y, w=held.w)
            more.append(
                f"the design that alkaid estimates has {own.metric} {own.value:.4f} on the same samples"
            )
    difference = scoring.difference(score, reference)
    return FpgaModel(
        precision,
        reuse_factor,
        said["io"],
        score.metric,
        Figure(score.value, "measured", score.low, score.high),
        Figure(reference.value, "measured", reference.low, reference.high),
        Figure(difference[0], "measured", difference[1], difference[2]),
        figures,
        (*said["notes"], *more),
        Path(folder) if folder is not None else None,
        counted,
    )


def resources(
    run: Call, vendor: dict[str, float] | None, trace: dict[str, Any], estimate: bool
) -> tuple[dict[str, Figure], Figure, list[str]]:
    """Figures, what yosys counted, and notes: from the vendor's report, else from alkaid's trace."""
    unknown = Figure.not_run("not asked for")
    if vendor:
        note = "estimated by the vendor's C synthesis"
        return {key: Figure(vendor[key], "estimated", note=note) for key in RESOURCES}, unknown, [note]
    why = "" if estimate else "not asked for"
    if estimate and importlib.util.find_spec("alkaid") is None:
        why = "no vendor tool, and alkaid is not installed (lepton_kit[fpga])"
    if trace["check"] and shutil.which("yosys") is None:
        trace, unknown = {**trace, "check": False}, Figure.not_run("yosys is not installed")
    if not why:
        try:
            found = run(f"{MODULE}:trace_estimate", **trace)
        except CompressionError as failure:
            why = str(failure).splitlines()[0]
    if why:
        return {key: Figure.not_run(why) for key in RESOURCES}, unknown, [f"resources not run: {why}"]
    note = "estimated by alkaid for its own fully unrolled design (reuse factor 1), not for hls4ml's"
    figures = {key: Figure(found[key], "estimated", note=note) for key in RESOURCES}
    if "yosys_luts" not in found:
        return figures, unknown, [note]
    counted = Figure(found["yosys_luts"], "estimated", note="mapped by yosys synth_xilinx")
    text = f"alkaid estimates {found['luts']:,.0f} LUTs; yosys maps the same design to {found['yosys_luts']:,.0f}"
    return figures, counted, [note, text]
