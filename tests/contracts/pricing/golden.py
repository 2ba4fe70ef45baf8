"""As a program, prints the lines of `contracts.pricing.guard.MODELS` as this machine computes them."""

from __future__ import annotations

from contracts.pricing import guard


def lines() -> list[str]:
    """One line of source a model."""
    return [f'    "{name}": ({name}.sample, "{found}"),' for name, found in guard.digests().items()]


if __name__ == "__main__":
    print(*lines(), sep="\n")
