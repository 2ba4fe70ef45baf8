"""The state machine: what a committed block does to money and positions. Pure: bytes and block time in, receipts and a root out."""
