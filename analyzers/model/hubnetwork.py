"""The network of a classifier as hubs publish it: windows in, logits out."""

import math
import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from tokenizers import Tokenizer

from llmtrace.analyzers.model.hubrepository import Repository
from llmtrace.analyzers.model.manifest import TOKENIZER, BadModel
from llmtrace.analyzers.model.network import Reading, check_finite, open_session
from llmtrace.analyzers.model.reading import Window

INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
"""What a network may ask for."""
TYPES: Final = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
LEAST_SHARE: Final = 0.9
"""A tokenizer with fewer of the tokens that a network knows is another model's."""
PROBE: Final = "What is the capital of Norway?"


class HubNetwork:
    """Runs the network on one thread per call. Safe to share between threads.

    ``at_once`` passes run at the same time; further ones wait.

    Raises:
        BadModel: The file is no network, or tokenizer and network do not fit each other.
    """

    def __init__(self, repository: Repository, *, at_once: int = 1) -> None:
        self._repository = repository
        self._path = repository.network
        self._session: Any = open_session(self._path)
        self._types = self._inputs()
        self._output = self._logits()
        self._tokens = len(repository.manifest.tags) > 0
        tokenizer = _tokenizer(repository)
        self._before, self._after = _specials(repository, tokenizer)
        self._room = threading.BoundedSemaphore(at_once)
        self._probe(tokenizer.encode(PROBE, add_special_tokens=False).ids)

    @property
    def specials(self) -> int:
        """How many tokens it reads around each window."""
        return len(self._before) + len(self._after)

    def read(self, windows: Sequence[Window]) -> list[Reading]:
        """Return a reading for each window, one at a time as ``Network`` does.

        Raises:
            BadReading: It has numbers that are not finite.
        """
        return [self._reading(self._run(window.ids)) for window in windows]

    def _run(self, ids: Sequence[int]) -> Any:
        row = np.array([[*self._before, *ids, *self._after]])
        given = {
            "input_ids": row,
            "attention_mask": np.ones_like(row),
            "token_type_ids": np.zeros_like(row),
        }
        feed = {name: given[name].astype(kind) for name, kind in self._types.items()}
        with self._room:
            return self._session.run([self._output], feed)[0][0].astype(np.float64)

    def _reading(self, logits: Any) -> Reading:
        check_finite(logits)
        if not self._tokens:
            return Reading(self._odds(logits), (), ())
        logits = logits[len(self._before) : len(logits) - len(self._after)]
        best = logits.argmax(-1)
        raised = np.exp(logits - logits.max(-1, keepdims=True))
        certainty = raised.max(-1) / raised.sum(-1)
        return Reading(-math.inf, best.tolist(), certainty.tolist())

    def _odds(self, logits: Any) -> float:
        """Return the log-odds of an attack: of all attacks against all that is none."""
        attacks = list(self._repository.attacks)
        if self._repository.each or len(logits) == 1:
            return float(logits[attacks].max())
        rest = [place for place in range(len(logits)) if place not in attacks]
        return float(np.logaddexp.reduce(logits[attacks]) - np.logaddexp.reduce(logits[rest]))

    def _inputs(self) -> dict[str, Any]:
        found = {one.name: one for one in self._session.get_inputs()}
        strange = sorted(set(found) - set(INPUTS))
        if strange or "input_ids" not in found:
            raise BadModel(
                f"{self._path}: asks for {', '.join(found)}, expected {', '.join(INPUTS)}; use the "
                "export of an encoder (optimum-cli export onnx --task text-classification)"
            )
        fixed = [n for n, one in found.items() if any(isinstance(d, int) for d in one.shape[1:])]
        if fixed or any(one.type not in TYPES for one in found.values()):
            raise BadModel(
                f"{self._path}: takes texts of one length, or no whole numbers "
                f"({', '.join(found)}); use an export with dynamic axes"
            )
        return {name: TYPES[one.type] for name, one in found.items()}

    def _logits(self) -> str:
        found = [one.name for one in self._session.get_outputs()]
        if "logits" in found or len(found) == 1:
            return "logits" if "logits" in found else str(found[0])
        raise BadModel(
            f"{self._path}: gives {', '.join(found)[:200]}, expected logits; use the export of a "
            "classifier"
        )

    def _probe(self, ids: Sequence[int]) -> None:
        """Read a sentence: what does not fit shows before the first call."""
        try:
            made = self._run(ids)
        except Exception as error:  # onnxruntime has an exception class per fault, without a base
            raise BadModel(
                f"{self._path}: cannot read a sentence ({type(error).__name__}); it does not fit "
                f"{TOKENIZER}, or was exported for another version"
            ) from error
        length = len(ids) + self.specials
        labels = len(self._repository.labels)
        wanted = (length, labels) if self._tokens else (labels,)
        if made.shape != wanted or not np.isfinite(made).all():
            raise BadModel(
                f"{self._path}: gives numbers of shape {made.shape}, expected {wanted}; "
                "config.json is another model's, or of another kind of classifier"
            )


def _tokenizer(repository: Repository) -> Any:
    path = repository.manifest.folder / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        reason = "is no tokenizer" if path.is_file() else "is not there"
        raise BadModel(
            f"{path}: {reason}; a tokenizer in the form of the tokenizers library is needed: get "
            "the file again, or export it with the model's fast tokenizer"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _specials(repository: Repository, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the tokens before and behind a text. Raises: BadModel."""
    size, known = tokenizer.get_vocab_size(), repository.vocabulary
    path = repository.manifest.folder / TOKENIZER
    if known and not LEAST_SHARE * known <= size <= known:
        raise BadModel(
            f"{path}: has {size} tokens, config.json says {known}; the file is another model's: "
            "get the model's files again"
        )
    encoding = tokenizer.encode(PROBE)
    mask: list[int] = encoding.special_tokens_mask
    first = mask.index(0) if 0 in mask else len(mask)
    last = len(mask) - mask[::-1].index(0) if 0 in mask else len(mask)
    return encoding.ids[:first], encoding.ids[last:]
