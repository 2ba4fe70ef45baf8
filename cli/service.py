"""What the commands that run until they are told to end have in common: `novate node run` and `novate signer run`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cli.output import Failure
from genesis.errors import Rejected
from node.failures import ReplicaHalted, StorageFailure

if TYPE_CHECKING:
    import trio


async def cancel_at_signal(signals: AsyncIterator[int], scope: trio.CancelScope, logger: str) -> None:
    """Cancel `scope` at the first of `signals`, and say so in the log of that name."""
    async for number in signals:
        logging.getLogger(logger).info("stopping", extra={"signal": number})
        scope.cancel()
        return


def explained(error: BaseException) -> Failure | None:
    """The failure to show in place of a traceback, when all that `error` holds can be explained."""
    match error:
        case BaseExceptionGroup():
            found = [explained(each) for each in error.exceptions]
            return found[0] if all(found) else None
        case StorageFailure():
            return Failure(f"Cannot {error.doing}: {error.reason}.", error.advice, "storage_failure")
        case ReplicaHalted():
            return Failure(f"The replica halted: {error.reason}.", error.advice, "halted")
        case Rejected():
            return Failure.of(error)
        case OSError():
            return Failure.of_system(error)
    return None
