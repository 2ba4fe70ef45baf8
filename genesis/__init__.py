"""What every node agrees on before the first block.

Reading order: `errors` (whose fault a failure is), `codec` (the one canonical encoding), `hashing` (domains),
`signing` (the Ed25519 rule), `values` (identifiers and units), `envelope` (a signed transaction), `params`
(every limit), `document` (the genesis document, whose hash is the chain id), `statements` (what validators sign),
`epochs` (which validator set decides which block), `evidence` (two statements that contradict each other).

This package imports the standard library, msgpack and pynacl, and knows nothing of consensus, contracts or nodes.
"""
