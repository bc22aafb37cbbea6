"""What a trained run becomes: the report card of its compression, exports, batch inference, FPGA."""

from __future__ import annotations

from lepton_kit.lazy import lazily

_HOMES = {
    "CompressionJob": "report.compress",
    "Figure": "report.rows",
    "FpgaModel": "fpga",
    "Predictor": "predict",
    "ReportCard": "report.card",
    "Row": "report.rows",
    "Sensitivity": "report.sensitivities",
    "auc": "modelcard.figures",
    "compress": "report.compress",
    "export": "exports",
    "infer": "inference",
    "load": "loading",
    "sensitivity": "report.sensitivities",
}
__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
