from lepton_kit import compression as compression
from lepton_kit import config as config
from lepton_kit import data as data
from lepton_kit import deploy as deploy
from lepton_kit import doctor as doctor
from lepton_kit import errors as errors
from lepton_kit import models as models
from lepton_kit import panels as panels
from lepton_kit import training as training
from lepton_kit.client.attaching import attach as attach
from lepton_kit.client.audit import audit as audit
from lepton_kit.client.certify import certify as certify
from lepton_kit.client.cluster import Cluster as Cluster
from lepton_kit.client.compare import compare as compare
from lepton_kit.client.devices import devices as devices
from lepton_kit.client.launch import launch as launch
from lepton_kit.client.launch import launch_config as launch_config
from lepton_kit.client.launch import warm as warm
from lepton_kit.client.plans.planning import plan as plan
from lepton_kit.client.pool import pool as pool
from lepton_kit.client.run import Run as Run
from lepton_kit.client.run import open_run as open_run
from lepton_kit.client.spark import check_spark as check_spark
from lepton_kit.client.submitting import submit as submit
from lepton_kit.client.table import runs as runs
from lepton_kit.client.tradeoff import tradeoff as tradeoff
from lepton_kit.config import RunConfig as RunConfig
from lepton_kit.deploy import compress as compress
from lepton_kit.deploy import export as export
from lepton_kit.deploy import infer as infer
from lepton_kit.deploy import load as load
from lepton_kit.deploy import sensitivity as sensitivity
from lepton_kit.fitting import fit as fit
from lepton_kit.models import LeptonModel as LeptonModel
from lepton_kit.panels import Workbench as Workbench
from lepton_kit.runtime.start import cool as cool

__version__: str

__all__ = [
    "Cluster",
    "LeptonModel",
    "Run",
    "RunConfig",
    "Workbench",
    "attach",
    "audit",
    "certify",
    "check_spark",
    "compare",
    "compress",
    "compression",
    "config",
    "cool",
    "data",
    "deploy",
    "devices",
    "doctor",
    "errors",
    "export",
    "fit",
    "infer",
    "launch",
    "launch_config",
    "load",
    "models",
    "open_run",
    "panels",
    "plan",
    "pool",
    "runs",
    "sensitivity",
    "submit",
    "tradeoff",
    "training",
    "warm",
]
