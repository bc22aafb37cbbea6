"""lepton_kit."""
