from lepton_kit.deploy.exports import export as export
from lepton_kit.deploy.fpga import FpgaModel as FpgaModel
from lepton_kit.deploy.inference import infer as infer
from lepton_kit.deploy.loading import load as load
from lepton_kit.deploy.modelcard.figures import auc as auc
from lepton_kit.deploy.predict import Predictor as Predictor
from lepton_kit.deploy.report.card import ReportCard as ReportCard
from lepton_kit.deploy.report.compress import CompressionJob as CompressionJob
from lepton_kit.deploy.report.compress import compress as compress
from lepton_kit.deploy.report.rows import Figure as Figure
from lepton_kit.deploy.report.rows import Row as Row
from lepton_kit.deploy.report.sensitivities import Sensitivity as Sensitivity
from lepton_kit.deploy.report.sensitivities import sensitivity as sensitivity

__all__ = [
    "CompressionJob",
    "Figure",
    "FpgaModel",
    "Predictor",
    "ReportCard",
    "Row",
    "Sensitivity",
    "auc",
    "compress",
    "export",
    "infer",
    "load",
    "sensitivity",
]
