"""Panels for notebooks: small ones that stand alone, and the workbench that joins them."""

from lepton_kit.panels.ask import AskPanel
from lepton_kit.panels.compare import ComparePanel
from lepton_kit.panels.compression import CompressionPanel
from lepton_kit.panels.data_model import DataModelPanel
from lepton_kit.panels.device import DevicePanel
from lepton_kit.panels.form import InputForm
from lepton_kit.panels.fpga import FpgaPanel
from lepton_kit.panels.hosts import HostsPanel
from lepton_kit.panels.lines import lines
from lepton_kit.panels.live import LivePanel
from lepton_kit.panels.places import PlacesPanel
from lepton_kit.panels.planning import PlanPanel
from lepton_kit.panels.pool import PoolPanel
from lepton_kit.panels.report import ReportPanel
from lepton_kit.panels.runs_list import RunsPanel
from lepton_kit.panels.sharding import ShardingPanel
from lepton_kit.panels.training import TrainingPanel
from lepton_kit.panels.workbench import Workbench

__all__ = [
    "AskPanel",
    "ComparePanel",
    "CompressionPanel",
    "DataModelPanel",
    "DevicePanel",
    "FpgaPanel",
    "HostsPanel",
    "InputForm",
    "LivePanel",
    "PlacesPanel",
    "PlanPanel",
    "PoolPanel",
    "ReportPanel",
    "RunsPanel",
    "ShardingPanel",
    "TrainingPanel",
    "Workbench",
    "lines",
]
