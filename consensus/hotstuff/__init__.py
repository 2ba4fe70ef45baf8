"""The HotStuff engine: a two-chain with a PBFT-like view change (Jolteon). Its rules are all it has of its own."""
