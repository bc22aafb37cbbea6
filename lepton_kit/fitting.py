"""`fit`: what `model.fit` does, on many workers; blocks, and puts what was trained into the given model."""

from __future__ import annotations

import contextlib
import pickle
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from lepton_kit import data
from lepton_kit.client.run import Run
from lepton_kit.errors import ConfigError, ModelError, RunError
from lepton_kit.models import LeptonModel
from lepton_kit.progress import Progress
from lepton_kit.rundir import Status

POLL_SECONDS = 0.05
STOP_SECONDS = 120.0
"""A run that has not ended so long after it was asked to is left to itself, and said to be."""
DEFAULT_BATCH = 32
"""As in Keras' `fit`."""


def fit(
    model: Any,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: str | int = "auto",
    callbacks: Any = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: Any = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: Any = 1,
    *,
    workers: int | str = 2,
    **options: Any,
) -> Any:
    """Train ``model`` as ``model.fit`` does, distributed over ``workers`` processes; returns a Keras `History`.

    The arguments are those of `fit`; ``batch_size`` is the global batch, 32 if not given. Further ``options`` are
    those of `launch` (``name``, ``runs_dir``, ``standby``, ``seed``, …). At the end the model has its trained weights
    and its optimizer its state; callbacks remember what they would in `fit`. ``history.run`` is the run. An interrupt
    stops the run, keeps its checkpoint, puts the weights reached so far into the model and is raised again. Raises
    what `launch` does, and `RunError` with the cause if the run fails; the model then has the last checkpoint's weights.
    """
    from lepton_kit.client.launch import launch

    shown = _verbosity(verbose)
    _check_model(model)
    progress = Progress(shown, epochs)
    if epochs <= initial_epoch:
        return _Outcome(model, None, callbacks, epochs, shown).history()
    dataset = data.of(
        x,
        y,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation_data=validation_data,
        validation_split=validation_split,
        validation_steps=validation_steps,
        validation_batch_size=validation_batch_size or batch_size,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs - initial_epoch,
        progress=progress.reading if shown == 1 else None,
    )
    if isinstance(model, LeptonModel) and not model.built:
        vars(model).update(vars(model.fitted_to(dataset.prepare())))
    run = launch(
        model,
        dataset,
        workers=workers,
        batch_size=batch_size or options.pop("global_batch", None) or _batch_of(dataset, steps_per_epoch),
        epochs=epochs,
        callbacks=callbacks,
        shuffle=bool(shuffle) and not dataset.is_ordered,
        initial_epoch=initial_epoch,
        steps_per_epoch=steps_per_epoch,
        validation_batch_size=validation_batch_size,
        validation_freq=validation_freq,
        **{"name": "fit", **options},
    )
    outcome = _Outcome(model, run, callbacks, epochs, shown)
    try:
        with progress.of(run):
            _follow(run, progress)
    except KeyboardInterrupt:
        _stop(run)
        outcome.take(finished=run.status is Status.FINISHED)
        raise
    outcome.take(finished=run.status in (Status.FINISHED, Status.STOPPED))
    _tell_warnings(run)
    if run.status not in (Status.FINISHED, Status.STOPPED):
        raise RunError(f"{run.id} {run.status}: {run.cause}")
    return outcome.history()


def _batch_of(dataset: data.Dataset, steps: int | None) -> int:
    """The batch where none is asked for, as in Keras: the stream's own, or what the steps of an epoch leave."""
    if dataset.batch_size is not None or not steps:
        return dataset.batch_size or DEFAULT_BATCH
    return -(-len(dataset.prepare().train) // steps)


def _follow(run: Run, progress: Progress) -> None:
    """Show what happens until nothing does any more."""
    while True:
        over = not run.alive and run.status.is_over
        progress.show(run.view())
        if over:
            return
        time.sleep(POLL_SECONDS)


def _stop(run: Run) -> None:
    """Have a run end with a checkpoint, and wait until it has; a second interrupt leaves the run to end alone."""
    deadline, asked = time.monotonic() + STOP_SECONDS, False
    try:
        while time.monotonic() < deadline and (run.alive or not run.status.is_over):
            if not asked and run.alive:
                with contextlib.suppress(RunError):  # it has just ended
                    run.stop()
                asked = True
            time.sleep(POLL_SECONDS)
        ended = not run.alive
    except KeyboardInterrupt:
        ended = False
    if not ended:
        print(f"{run.id} is still {run.status}: lk.open_run({str(run.directory)!r}).wait()", file=sys.stderr)


class _Outcome:
    """What a run has reached, and how it gets into the notebook's own objects."""

    def __init__(self, model: Any, run: Run | None, callbacks: Any, epochs: int, verbose: int):
        import keras

        self._given, self._run, self._callbacks = model, run, callbacks
        self._params = {"verbose": verbose, "epochs": epochs, "steps": None}
        self._history = keras.callbacks.History()
        self._history.on_train_begin()

    def history(self) -> Any:
        """Keras' `History` of the run, with the run itself as ``run``; the model has it too, as after `fit`."""
        history = self._history
        history.run = self._run
        history.set_params(self._params)
        history.set_model(self._model)
        if self._model is not None:
            self._model.history = history
        return history

    @property
    def _model(self) -> Any:
        if isinstance(self._given, LeptonModel):
            return self._given.network if self._run is not None or self._given.built else None
        return self._given

    def take(self, *, finished: bool) -> None:
        """Put weights, optimizer state and the callbacks' memory into the notebook's objects, as far as there are any.

        ``finished`` takes what stands at the end of a run; else its last checkpoint.
        """
        from lepton_kit.training import callback_specs, callbacks

        assert self._run is not None
        self._params["steps"] = self._run.view().plan.get("steps_per_epoch")
        model = self._model
        if model is None:
            return
        arrays, memory = reached(self._run, finished=finished)
        stopped = False
        if arrays is not None:
            if not model.compiled:
                self._compile(model)
            give_variables(model, arrays, self._run.id, memory.get("optimizers", []))
        if memory:
            told = memory["callbacks"]
            self._history = callbacks.give_back(told, callback_specs.objects(self._callbacks), model)
            stopped = pickle.loads(told)["stop"] is not None
        model.stop_training = stopped
        self._add_epochs()
        self.history()

    def _compile(self, model: Any) -> None:
        """Compile a `LeptonModel`'s network as its workers did, so that its optimizer can be given its state."""
        import keras

        from lepton_kit.training import job

        assert self._run is not None
        job.compile_model(model, self._run.config, self._run.data().prepare(), keras)

    def _add_epochs(self) -> None:
        """Epochs that the log tells of and the callbacks' memory does not."""
        assert self._run is not None
        for row in self._run.view().epochs:
            if row["epoch"] not in self._history.epoch:
                self._history.epoch.append(row["epoch"])
                for name in sorted(row.keys() - {"epoch", "step", "seconds"}):
                    self._history.history.setdefault(name, []).append(row[name])


def reached(run: Run, *, finished: bool) -> tuple[list[Any] | None, dict[str, Any]]:
    """Arrays of all variables, and what `Decisions.state` holds, from the end of a run or its last checkpoint."""
    from lepton_kit.training import state
    from lepton_kit.training.saver import CALLBACKS

    final = run.directory / "final"
    folders = state.checkpoint_folders(run.paths.checkpoints)
    if finished and (final / state.FINAL).exists():
        folder, arrays = final, state.load_final(final, CALLBACKS)
    elif folders:
        folder, arrays = state.load_newest(run.paths.checkpoints)
    else:
        return None, {}
    memory = state.load_extra(folder, CALLBACKS)
    return arrays, pickle.loads(memory) if memory else {}


def give_variables(model: Any, arrays: list[Any], source: str, trained: Sequence[Any] = ()) -> None:
    """Assign a run's arrays to a model's variables and, where they fit, its optimizers' variables.

    ``trained`` is what `trained_by` says of the run's optimizers. What the model reads without tracking it, such as a
    variable of its loss, gets the run's value too.
    """
    from lepton_kit.training import state
    from lepton_kit.training.patched import optimizers_of
    from lepton_kit.training.variables import outside

    count = len(model.variables)
    state.restore(model.variables, arrays[:count], source)
    optimizers = optimizers_of(model)
    for optimizer, places in zip(optimizers, trained or [None] * len(optimizers), strict=True):
        if not optimizer.built and (places is not None or not trained):
            known = model.variables
            optimizer.build(
                model.trainable_variables if places is None else [known[place] for place in places]
            )
        values = arrays[count : count + len(optimizer.variables)]
        shapes = [tuple(variable.shape) for variable in optimizer.variables]
        if [value.shape for value in values] != shapes:
            warnings.warn(f"{source}: its optimizer state does not fit this model's optimizer", stacklevel=4)
            return
        state.restore(optimizer.variables, values, source)
        count += len(values)
    known = [*model.variables, *(v for one in optimizers for v in one.variables), *model.metrics_variables]
    held = outside(model, known)
    if held and [tuple(v.shape) for v in held] == [value.shape for value in arrays[-len(held) :]]:
        state.restore(held, arrays[-len(held) :], source)


def _verbosity(verbose: Any) -> int:
    if verbose in ("auto", True):
        return 1
    if verbose in (0, 1, 2):
        return int(verbose)
    raise ConfigError("verbose", given=verbose, rule="'auto', 0, 1 or 2")


def _check_model(model: Any) -> None:
    import keras

    if isinstance(model, LeptonModel):
        return
    if not isinstance(model, keras.Model):
        raise ModelError(f"a {type(model).__name__} is no model; expected a LeptonModel or a Keras 3 model")
    if not model.compiled:
        raise ModelError(
            f"model {model.name!r} is not compiled; call compile() before fit, as for Keras' own fit"
        )


def _tell_warnings(run: Run) -> None:
    for text in dict.fromkeys(warning["text"] for warning in run.view().warnings):
        warnings.warn(f"{run.id}: {text}", stacklevel=3)
