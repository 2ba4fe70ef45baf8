"""Points of a Sobol sequence, each from its own index: no point needs the one before it.

Source: Sobol, The distribution of points in a cube, USSR Computational Mathematics 7 (1967), pages 86 to 112; in the
order of Gray codes after Antonov and Saleev, USSR Computational Mathematics 19 (1979), pages 252 to 256.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contracts.compiled import inlined


@inlined
def sobol(directions: Any, dimension: Any, point: Any) -> Any:
    """The 52 bits of one coordinate: the exclusive or of the direction numbers at the bits of the point's Gray code.

    Args:
        directions: uint64[dimension, 32], as `contracts.pricing.sobol.directions` makes them.
        dimension: Which coordinate.
        point: Which point, uint64 below 2³².
    """
    gray = point ^ (point >> np.uint64(1))
    bits = np.uint64(0)
    for bit in range(32):
        one = (gray >> np.uint64(bit)) & np.uint64(1)
        bits = bits ^ (directions[dimension, bit] if one == np.uint64(1) else np.uint64(0))
    return bits
