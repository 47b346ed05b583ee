"""How the values are declared of which each call makes many."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

DECLARED: Final[list[type]] = []
WATCHERS: Final[list[Callable[[type], None]]] = []
"""What is told of each class that is declared frozen; the tests have them frozen indeed."""

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen=False, **options):
        """Declare a dataclass; a frozen one is so for the type checkers, and in the tests.

        The standard library's sets each field of a frozen one through a function, an eighth of a
        microsecond each: some three hundred for each call, a twentieth of what it costs.
        """
        declare = dataclasses.dataclass(unsafe_hash=frozen, **options)

        def declared(cls):
            made = declare(cls)
            if frozen:
                DECLARED.append(made)
                for watch in WATCHERS:
                    watch(made)
            return made

        return declared


__all__ = ["DECLARED", "WATCHERS", "dataclass"]
