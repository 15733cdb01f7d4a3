"""Changes of the mode while traffic goes on: forth through all modes, and back."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final

import attrs
import trio

from dualkv.config import ProxyMode

__all__ = ["ModeChanges"]

_PERIOD_SECONDS: Final = 2.0
_HURRY_SECONDS: Final = 0.1
_HOME_SECONDS: Final = 120.0
_PATIENCE_SECONDS: Final = 30.0
_WAY: Final = (
    ProxyMode.DUAL_WRITE, ProxyMode.DUAL_WRITE_SHADOW, ProxyMode.ELASTICKV_PRIMARY, ProxyMode.ELASTICKV_ONLY,
    ProxyMode.ELASTICKV_PRIMARY, ProxyMode.DUAL_WRITE_SHADOW, ProxyMode.DUAL_WRITE, ProxyMode.REDIS_ONLY,
)  # fmt: skip
"""Round and round; at home is the first."""


@attrs.define
class ModeChanges:
    """Changes the mode of a dualkv again and again.

    Args:
        port: Of its admin address on this machine.
    """

    port: int
    done: int = 0
    refused: int = 0
    """What could not be done yet, such as before all keys have been copied; it is tried again."""
    longest_wait_seconds: float = 0.0
    """How long clients were held back, at most."""
    complaints: list[str] = attrs.field(factory=list)
    _at: int = 0
    _due: float = 0.0

    async def run(self) -> None:
        """Take a step every two seconds, until cancelled; called again, it keeps the time."""
        while True:  # noqa: ASYNC913 - each round sleeps
            await trio.sleep_until(self._due)
            self._due = trio.current_time() + _PERIOD_SECONDS
            await self._step()

    async def go_home(self) -> None:
        """Go on until the first mode has been reached."""
        with trio.move_on_after(_HOME_SECONDS) as patience:  # noqa: ASYNC912 - it may be there already
            while self._at % len(_WAY):
                await self._step()
                await trio.sleep(_HURRY_SECONDS)
        if patience.cancelled_caught:
            self.complaints.append(f"no way back to {_WAY[0].value} from {_WAY[self._at % len(_WAY)].value}")

    async def _step(self) -> None:
        wanted = _WAY[(self._at + 1) % len(_WAY)]
        status, told = await trio.to_thread.run_sync(self._ask, wanted, abandon_on_cancel=False)
        if status == 200:
            self._at += 1
            self.done += 1
            self.longest_wait_seconds = max(self.longest_wait_seconds, told["waited_seconds"])
        elif status == 409:
            self.refused += 1
        else:
            self.complaints.append(f"mode {wanted.value}: {status} {told}")

    def _ask(self, mode: ProxyMode) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)
        try:
            body = json.dumps({"mode": mode.value, "force": True})
            connection.request("PUT", "/api/mode", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, str(error)
        finally:
            connection.close()
