"""What a notebook, a script or a shell holds: launching, runs, their proofs."""
