"""The state machine: what a committed block does to money and positions.

Pure: envelopes and block time in, receipts, a root and the changed entries out.
"""
