"""The network itself: windows in, logits out. The only code that knows ONNX Runtime."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from llmtrace.analyzers.model.manifest import NETWORK, TOKENIZER, BadModel, Manifest
from llmtrace.analyzers.model.networkfaults import explain
from llmtrace.analyzers.model.reading import Window


@dataclass(frozen=True, slots=True)
class Reading:
    """What the network makes of one window: an attack's logit, and a tag and its probability
    for each token."""

    logit: float
    tags: Sequence[int]
    certainty: Sequence[float]


class BadReading(ArithmeticError):
    """A network gave numbers that are none: they say neither that there is something, nor that
    there is not."""


SLOW_FUSIONS: Final = ("SkipLayerNormFusion",)
"""What ONNX Runtime would make of a network, and is slower with: its operator for a sum and its
norm takes 0.6 ms for 256 tokens, the two by themselves 0.13 (1.31, x86)."""


def open_session(path: Path) -> Any:
    """Load a network that runs on one thread. Raises: BadModel."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(SLOW_FUSIONS),
        )
    except Exception as error:  # onnxruntime has an exception class per fault, without a base
        raise BadModel(
            f"{path}: cannot be loaded ({type(error).__name__}): {explain(error, path)}"
        ) from error


class Network:
    """Runs the network on one thread per call. Safe to share between threads.

    ``at_once`` passes run at the same time; further ones wait. ONNX Runtime lets go of the
    interpreter meanwhile, so that the event loop goes on.

    Raises:
        BadModel: The file is no network, or not this one.
    """

    def __init__(self, manifest: Manifest, *, at_once: int = 1, largest: int = 0) -> None:
        """Load the network, and let it read a window of ``largest``, the tokenizer's last id."""
        self._begin, self._end = manifest.begin, manifest.end
        path = manifest.folder / NETWORK
        self._session: Any = open_session(path)
        wanted = (["ids"], ["injection", "tags"])
        found = (
            [one.name for one in self._session.get_inputs()],
            [one.name for one in self._session.get_outputs()],
        )
        width = (self._session.get_outputs()[-1].shape or [0])[-1]
        if found != wanted or width != len(manifest.tags):
            raise BadModel(
                f"{path}: has inputs {found[0]}, outputs {found[1]} and {width} tags, expected "
                f"{wanted[0]}, {wanted[1]} and {len(manifest.tags)}; it is another model's"
            )
        self._room = threading.BoundedSemaphore(at_once)
        said = f"begin {self._begin} and end {self._end}, as model.json says"
        self._probe(path, said, [], width)
        self._probe(path, f"token {largest}, the last of {TOKENIZER}", [largest], width)
        said = f"a window of {manifest.window} tokens, as model.json says"
        self._probe(path, said, [largest] * manifest.room, width)

    def read(self, windows: Sequence[Window]) -> list[Reading]:
        """Return a reading for each window.

        One at a time: on one core a pass over several takes longer than they do one by one, and
        8-bit activations are scaled by the whole pass, so that company would change the reading.

        Raises:
            BadReading: It has numbers that are not finite.
        """
        return [self._read(window) for window in windows]

    def _read(self, window: Window) -> Reading:
        logits, tags = self._run(window.ids)
        check_finite(logits)
        check_finite(tags)
        return _reading(float(logits[0]), tags[0, 1:-1])

    def _run(self, ids: Sequence[int]) -> tuple[Any, Any]:
        row = np.array([[self._begin, *ids, self._end]], dtype=np.int64)
        with self._room:
            logits, tags = self._session.run(None, {"ids": row})
        return logits, tags

    def _probe(self, path: Path, what: str, ids: Sequence[int], width: int) -> None:
        """Read what a text could be: what does not fit shows before the first one."""
        try:
            logits, tags = self._run(ids)
        except Exception as error:  # onnxruntime has an exception class per fault, without a base
            raise BadModel(
                f"{path}: cannot read {what} ({type(error).__name__}); the files are of different "
                "models: get the model's files again"
            ) from error
        found, wanted = (logits.shape, tags.shape), ((1,), (1, len(ids) + 2, width))
        finite = np.isfinite(logits).all() and np.isfinite(tags).all()
        if found != wanted or not finite:
            raise BadModel(
                f"{path}: gives numbers of shapes {found[0]} and {found[1]}"
                f"{'' if finite else ' that are not finite'} for {what}, expected {wanted[0]} and "
                f"{wanted[1]}; export the model again"
            )


def check_finite(numbers: Any) -> None:
    """Check what a network gave. Raises: BadReading."""
    if not np.isfinite(numbers).all():
        raise BadReading("the network gave numbers that are not finite")


def _reading(logit: float, logits: Any) -> Reading:
    best = logits.argmax(-1)
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    certainty = raised.max(-1) / raised.sum(-1)
    return Reading(logit, best.tolist(), certainty.tolist())
