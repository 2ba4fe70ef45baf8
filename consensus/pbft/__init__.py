"""The PBFT engine: pre-prepare, prepare, commit, one height after the other. `safety` holds its rules, `core` its one
part that HotStuff has not."""
