"""Workers as tasks of a Spark application: each task starts an agent, which dials back to the run's driver."""
