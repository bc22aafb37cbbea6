"""A lab of two hosts for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hosts.lab import Lab, lab, why_not


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with lab(tmp_path_factory.mktemp("lab"), "one", "two") as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_SSH_COMMAND", made.ssh_command)
        yield made
