"""How much work one tool call may make. What is over it is told, not done."""

import time
from collections.abc import Callable
from dataclasses import dataclass


class Exhausted(Exception):
    """The work that one tool call may make is done."""


@dataclass(slots=True)
class Budget:
    """What is left, in characters parsed, nodes of their trees, characters that expansions grow
    to, steps (calls and their words), and seconds of this thread's time in the parser, of which
    only what is made to be slow takes more than a hundredth. Shared by all that one tool call
    holds. ``cut`` says that something of it was not looked at.
    """

    chars: int = 3 * 1024 * 1024
    nodes: int = 60_000
    grown: int = 128 * 1024
    steps: int = 10_000
    seconds: float = 0.2
    cut: bool = False
    clock: Callable[[], float] = time.thread_time

    def parse(self, chars: int) -> None:
        """Take characters to parse. Raises: Exhausted."""
        self.chars -= chars
        if self.chars < 0:
            raise Exhausted

    def step(self, steps: int) -> None:
        """Take steps. Raises: Exhausted."""
        self.steps -= steps
        if self.steps < 0:
            raise Exhausted

    def visit(self) -> bool:
        """Take a node; False if there is none left."""
        self.nodes -= 1
        return self.nodes >= 0

    def grow(self, chars: int) -> bool:
        """Take characters that an expansion grows to; False if there are none left."""
        self.grown -= chars
        return self.grown >= 0
