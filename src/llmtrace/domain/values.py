"""How the values are declared of which each call makes many."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen=False, **options):
        """Declare a dataclass; a frozen one is so for the type checkers, and in the tests.

        The standard library's sets each field of a frozen one through a function, an eighth of a
        microsecond each: some three hundred for each call, a twentieth of what it costs.
        """
        if frozen and not Freezing.indeed:
            options = {"unsafe_hash": True, **options}
            frozen = False
        Freezing.declared += 1
        return dataclasses.dataclass(frozen=frozen, **options)


class Freezing:
    """Whether what is declared from now on is frozen at run time too: see ``testing.frozen``."""

    indeed: Any = False
    declared: int = 0


__all__ = ["Freezing", "dataclass"]
