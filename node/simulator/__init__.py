"""The second shell around the cores: an event heap where the first has Trio, sockets, clocks and disks.

Real cores, real encoding and, by switch, the real state machine and real signatures run in one thread and in virtual
time. Faults come from one `random.Random(seed)`, so a seed replays any run to the bit, on every machine. `run.simulate`
is the face; docs/TESTING.md says what is injected, what is checked and how a failure is replayed.
"""
