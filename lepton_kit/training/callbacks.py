"""Hosts a user's own Keras callbacks in a worker: rank 0 calls them, and every rank can take them over.

The loop calls the methods of `Callbacks` where Keras' `fit` calls its hooks, and after each of them sends what the
callbacks have changed to all ranks: variables of model and optimizer, `stop`, and now and then `state`.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lepton_kit.errors import ConfigError, RunError
from lepton_kit.training.callback_specs import STEP_HOOKS, acts, load, monitored, needs_steps, store
from lepton_kit.training.callback_state import DIRECTORY, Keeper, Parts

__all__ = ["Best", "Callbacks", "load", "monitored", "store"]


class Callbacks:
    """The callbacks of one run. ``params`` are Keras': epochs, steps (in an epoch) and verbose.

    Logs given to the hooks are dictionaries of numbers as in Keras: means since the epoch began for a step, those
    and the ``val_`` ones for an epoch, names without ``val_`` for a validation. A hook's exception becomes a
    `RunError` with its own text that names callback and hook.
    """

    def __init__(self, callbacks: Sequence[Any], model: Any, params: dict[str, Any]):
        import keras

        self._model = model
        self._params = params
        own = [one for one in callbacks if isinstance(one, keras.callbacks.History)]
        self._history = own[0] if own else keras.callbacks.History()
        self._callbacks = [*callbacks, *([] if own else [self._history])]
        self._parts = Parts(model)
        self._keepers = [Keeper(callback, self._parts) for callback in self._callbacks]
        self._at_steps = {
            hook: [one for one in callbacks if acts(one, hook) or acts(one, old_name)]
            for hook, old_name in zip(STEP_HOOKS[:2], STEP_HOOKS[2:], strict=True)
        }
        self.needs_steps = any(needs_steps(callback) for callback in callbacks)
        self.stop: str | None = None
        self._active = False
        self._received: dict[str, Any] | None = None
        self._output = io.StringIO()
        self._warnings: list[str] = []
        self._warned: set[str] = set()
        self._epoch = 0

    # ------------------------------------------------------------------ where `fit` calls its hooks

    def begin(self, fresh: bool) -> None:
        """Become the one that calls them: at the start of a run, or in place of a rank 0 that is no more."""
        if self._active:
            return
        self._active = True
        self._model.stop_training = bool(self.stop) and not fresh
        for callback in self._callbacks:
            with self._calling(callback, "set_model"):
                callback.set_model(self._model)
                callback.set_params(self._params)
        if fresh:
            names = ", ".join(type(one).__name__ for one in self._callbacks if needs_steps(one))
            if names:
                self._warnings.append(
                    f"{names}: acts on every batch, so the workers confer after each step: slower"
                )
            self._call("on_train_begin", {})
        else:
            self._take_over()

    def begin_epoch(self, epoch: int) -> None:
        """Call `on_epoch_begin`."""
        self._epoch = epoch
        self._call("on_epoch_begin", epoch, {})

    def begin_step(self, step: int) -> None:
        """``step`` counts from the beginning of the epoch."""
        self._call_step("on_train_batch_begin", step, {})

    def end_step(self, step: int, logs: Mapping[str, Any]) -> None:
        """Call `on_train_batch_end` of callbacks that have one."""
        self._call_step("on_train_batch_end", step, _plain(logs))

    def begin_validation(self) -> None:
        """Call `on_test_begin`."""
        self._call("on_test_begin", {})

    def end_validation(self, logs: Mapping[str, Any]) -> None:
        """Call `on_test_end`."""
        self._call("on_test_end", _plain(logs))

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the logs as the callbacks have left them: some add the learning rate."""
        self._epoch = epoch
        told = _plain(logs)
        self._call("on_epoch_end", epoch, told)
        return told

    def end(self, logs: Mapping[str, Any]) -> None:
        """Call once, when training is over; ``logs`` are those of the last epoch."""
        self._call("on_train_end", _plain(logs))

    # ------------------------------------------------------------------ what they leave behind

    def state(self) -> bytes:
        """All that has changed in the callbacks and can travel; not the model, not open files."""
        if not self._active and self._received is not None:
            return pickle.dumps(self._received)
        return pickle.dumps({"stop": self.stop, "callbacks": [self._taken(one) for one in self._keepers]})

    def load(self, state: bytes) -> None:
        """Hold the state of rank 0, for the case that this rank has to take over."""
        self._received = pickle.loads(state)
        self.stop = self._received["stop"]

    def take_output(self) -> str:
        """What the callbacks have printed since the last call."""
        text = self._output.getvalue()
        self._output = io.StringIO()
        return text

    def take_warnings(self) -> list[str]:
        """What Python's warnings have said in the callbacks since the last call, each text once."""
        found, self._warnings = self._warnings, []
        return found

    @property
    def history(self) -> dict[str, list[Any]]:
        """What Keras' `History` holds so far."""
        result: dict[str, list[Any]] = self._history.history
        return result

    # ------------------------------------------------------------------ inside

    def _call(self, hook: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            if not getattr(getattr(callback, hook), "_is_default", False):
                with self._calling(callback, hook):
                    getattr(callback, hook)(*arguments)

    def _call_step(self, hook: str, step: int, logs: dict[str, Any]) -> None:
        for callback in self._at_steps[hook]:
            with self._calling(callback, hook):
                getattr(callback, hook)(step, logs=logs)

    @contextlib.contextmanager
    def _calling(self, callback: Any, hook: str) -> Iterator[None]:
        stopped = bool(self._model.stop_training)
        name, warned = type(callback).__name__, []
        try:
            with (
                self._inside_directory(callback),
                contextlib.redirect_stdout(_Tee(self._output, sys.stdout)),
                warnings.catch_warnings(record=True) as warned,
            ):
                yield
        except BaseException as failure:  # also one that would end this process alone, such as SystemExit
            text = str(failure) or "no text"
            raise RunError(f"callback {name}, {hook}: {type(failure).__name__}: {text}") from failure
        finally:
            for text in (str(one.message) for one in warned):
                if text not in self._warned:
                    self._warned.add(text)
                    self._warnings.append(text)
        if self._model.stop_training and not stopped:
            self.stop = self._why(callback, hook)

    @contextlib.contextmanager
    def _inside_directory(self, callback: Any) -> Iterator[None]:
        """A relative path means in a callback what it meant in the notebook, if that folder is still there."""
        directory = vars(callback).get(DIRECTORY)
        if directory is None or directory == os.getcwd() or not os.path.isdir(directory):
            yield
            return
        with contextlib.chdir(directory):
            yield

    def _why(self, callback: Any, hook: str) -> str:
        kinds = [kind.__name__ for kind in type(callback).__mro__]
        name = type(callback).__name__
        if "EarlyStopping" in kinds:
            count, best = callback.wait, callback.best
            best = f" (best {float(best):.6g}, epoch {callback.best_epoch + 1})" if best is not None else ""
            return f"{name}: {callback.monitor} has not improved for {count} epoch{'s' * (count != 1)}{best}"
        if "TerminateOnNaN" in kinds:
            return f"{name}: the loss is not a finite number in epoch {self._epoch + 1}"
        return f"{name}: set stop_training in {hook}, epoch {self._epoch + 1}"

    def _taken(self, keeper: Keeper) -> dict[str, Any]:
        taken = keeper.take()
        file = getattr(keeper.callback, "csv_file", None)
        if file is not None and not file.closed:
            taken["written"] = file.tell()
        return taken

    def _take_over(self) -> None:
        """Open what does not travel, as at the beginning, then go on from what has travelled.

        Only callbacks that need it are begun again, and what this does to model and optimizer is undone.
        """
        taken = (self._received or {"callbacks": []})["callbacks"]
        for keeper, one in zip(self._keepers, taken, strict=False):
            if one["stuck"]:
                callback = keeper.callback
                variables = [*self._model.variables, *getattr(self._model.optimizer, "variables", ())]
                values = [variable.numpy() for variable in variables]
                with self._calling(callback, "on_train_begin"), _appending(callback, one.get("written")):
                    callback.on_train_begin({})
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
            keeper.give(one)


def give_back(state: bytes, callbacks: Sequence[Any], model: Any) -> Any:
    """Put a run's state into the notebook's own callbacks, as they were stored; returns its Keras `History`.

    ``callbacks`` are those of `callback_specs.objects`: None stands for one that the notebook has no object of.
    """
    import keras

    parts = Parts(model)
    taken = pickle.loads(state)["callbacks"]
    own = [one for one in callbacks if isinstance(one, keras.callbacks.History)]
    history = own[0] if own else keras.callbacks.History()
    history.on_train_begin()
    for callback, one in zip([*callbacks, *([] if own else [history])], taken, strict=True):
        if callback is not None:
            Keeper(callback, parts).give(one)
            vars(callback)["_model"] = model
    return history


class Best:
    """Whether an epoch is the best so far, by Keras' own rule for ``auto``.

    ``monitor`` may end in ``:min`` or ``:max``. ``metrics`` are the model's Keras metrics, which know their direction.

    >>> best = Best("val_loss")
    >>> [best.update(value) for value in (0.5, 0.6, 0.4)]
    [True, False, True]
    """

    def __init__(self, monitor: str, mode: str = "auto", metrics: Iterable[Any] = ()):
        name, _, given = monitor.partition(":")
        self.monitor, mode = name, given or mode
        self.value: float | None = None
        quantity = name.removeprefix("val_")
        if mode == "auto":
            mode = "min" if quantity == "loss" else ""
            known = [inner for one in metrics for inner in (one, *getattr(one, "metrics", ()))]
            directions = [getattr(one, "_direction", None) for one in known if one.name == quantity]
            if directions and directions[-1] is not None:
                mode = "max" if directions[-1] == "up" else "min"
        if mode not in ("min", "max"):
            rule = (
                "loss, val_loss, a metric whose direction Keras knows, or a name with :min or :max at its end"
            )
            raise ConfigError("training.keep_best", given=monitor, rule=rule)
        self._sign = 1 if mode == "min" else -1

    def better(self, value: float) -> bool:
        """Whether a value beats the best one so far."""
        return value == value and (self.value is None or self._sign * value < self._sign * self.value)

    def update(self, value: float) -> bool:
        """Whether this value is the best so far; it is remembered then."""
        found = self.better(value)
        if found:
            self.value = value
        return found


def _plain(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Python numbers by name, sorted, as Keras gives them to callbacks."""
    result: dict[str, Any] = {}
    for name, value in sorted(logs.items()):
        if isinstance(value, Mapping):
            result.update(_plain(value))
        else:
            try:
                result[name] = float(value)
            except (TypeError, ValueError):
                result[name] = value
    return result


@contextlib.contextmanager
def _appending(callback: Any, written: int | None) -> Iterator[None]:
    """While this lasts a `CSVLogger` goes on in its file, from where the state that is taken over was."""
    if not hasattr(callback, "csv_file") or written is None:
        yield
        return
    if os.path.exists(callback.filename) and os.path.getsize(callback.filename) > written:
        os.truncate(callback.filename, written)
    append, callback.append = callback.append, True
    try:
        yield
    finally:
        callback.append = append


class _Tee(io.TextIOBase):
    """Writes into a buffer and, as before, to the worker's log."""

    def __init__(self, buffer: io.StringIO, log: Any):
        self._buffer, self._log = buffer, log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._buffer.write(text)

    def flush(self) -> None:
        self._log.flush()
