"""Worker threads, so that nobody waits for another's work: some are for what people do alone, few for what takes long."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from jayul.app.web.desk import NotYet, patience

TURN = 0.5  # s for which an answer that nobody can hurry holds a thread; then it waits without one
P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """How many threads there are for what: `acts` of people, and what is `slow` by itself (a whole journal is verified)."""

    def __init__(self) -> None:
        self.acts, self.slow = CapacityLimiter(8), CapacityLimiter(2)


async def act(request: Request, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Do what a person asks for, or what it takes to find out what that is: threads are always free for it."""
    limiter = request.app.state.threads.acts
    return await to_thread.run_sync(partial(call, *args, **named), limiter=limiter)


async def slow(request: Request, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Do what takes long, two at a time; others queue without a thread."""
    limiter = request.app.state.threads.slow
    return await to_thread.run_sync(partial(call, *args, **named), limiter=limiter)


async def patient(request: Request, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Return what a call returns, however often it says NotYet, and hold no thread meanwhile. Raises NotYet if nobody waits."""
    patience.set(TURN)
    while True:
        try:
            return await to_thread.run_sync(partial(call, *args, **named))
        except NotYet:
            if await request.is_disconnected():
                raise
            await anyio.sleep(TURN)
