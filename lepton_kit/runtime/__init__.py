"""The processes of a run: driver, zygote and nursery, workers."""
