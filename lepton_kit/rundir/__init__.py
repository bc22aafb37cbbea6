"""The run directory: its file names, its event log, its requests, and the view that readers build from them."""

from lepton_kit.rundir.control import Request, read_requests, send_request
from lepton_kit.rundir.events import EventLog, EventReader
from lepton_kit.rundir.held import HeldFolder
from lepton_kit.rundir.paths import RunPaths, find_run, list_runs, new_run_id
from lepton_kit.rundir.status import Status
from lepton_kit.rundir.view import RunView

__all__ = [
    "EventLog",
    "EventReader",
    "HeldFolder",
    "Request",
    "RunPaths",
    "RunView",
    "Status",
    "find_run",
    "list_runs",
    "new_run_id",
    "read_requests",
    "send_request",
]
