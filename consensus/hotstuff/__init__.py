"""The HotStuff engine: a two-chain with a PBFT-like view change (Jolteon). `core` is its face."""
