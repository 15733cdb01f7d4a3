"""All workers, for whoever asks or tells them something together."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import trio

from dualkv.config import ProxyMode
from dualkv.errors import ModeChangeRefused
from dualkv.workers.asking import Answer, Worker, WorkerSilent
from dualkv.workers.merging import merged_pages

__all__ = ["Team"]

_WORD_SECONDS: Final = 20.0
"""How long a worker may take beyond what clients are asked to wait."""
_MODE: Final = "/worker/mode"

_log = logging.getLogger("dualkv.supervisor")


class Team:
    """The workers.

    Args:
        workers: All of them.
        mode: The first mode.
    """

    def __init__(self, workers: Sequence[Worker], mode: ProxyMode) -> None:
        self.workers = workers
        self.mode = mode
        """What all of them are in, and what one begins with that is started anew."""
        self._changing = trio.Lock()

    async def ask_all(
        self, method: str, target: str, body: Any = None, user: str = ""
    ) -> list[Answer | None]:
        """Return what each answers; None: nothing."""
        answers: list[Answer | None] = [None] * len(self.workers)

        async def ask_one(worker: Worker) -> None:
            try:
                answers[worker.number] = await worker.ask(method, target, body, user=user)
            except WorkerSilent as silent:
                _log.warning("a worker does not answer", extra={"number": worker.number, "why": str(silent)})

        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(ask_one, worker)
        return answers

    async def change_mode(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let all workers change the mode, or none.

        Args:
            asked: As `Succession.change_mode` takes it; ``mode`` by its name.

        Returns:
            What was done, or would be.

        Raises:
            ModeChangeRefused: One of them could not; all are as before.
        """
        patience_seconds = float(asked.get("wait_seconds", 2.0)) + _WORD_SECONDS
        async with self._changing:
            try:
                plans = await self._each(lambda one: one.ask("PUT", _MODE, asked, patience_seconds))
                if asked.get("dry_run"):
                    return _as_one(plans)
                self.mode = ProxyMode(asked["mode"])  # from here on it is so, also for who dies on the way
                return _as_one(await self._each_completes())
            except ModeChangeRefused:
                with trio.move_on_after(_WORD_SECONDS, shield=True):
                    await self.ask_all("POST", f"{_MODE}/abandon")
                raise

    async def _each(self, do: Callable[[Worker], Awaitable[Answer]]) -> list[Mapping[str, Any]]:
        """Return what each worker has done.

        Raises:
            ModeChangeRefused: One has not.
        """
        done: list[Mapping[str, Any]] = [{}] * len(self.workers)
        refusals: list[str] = []

        async def do_one(worker: Worker) -> None:
            try:
                answer = await do(worker)
            except WorkerSilent as silent:
                refusals.append(f"worker {worker.number} does not answer: {silent}")
                return
            if answer.status == 200:
                done[worker.number] = answer.json()
            else:
                refusals.append(f"worker {worker.number}: {answer.json()['error']}")

        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(do_one, worker)
        if refusals:
            reasons = dict.fromkeys(refusal.partition(": ")[2] or refusal for refusal in refusals)
            everybody = len(refusals) == len(self.workers) and len(reasons) == 1
            raise ModeChangeRefused(next(iter(reasons)) if everybody else "; ".join(sorted(refusals)))
        return done

    async def _each_completes(self) -> list[Mapping[str, Any]]:
        """Return what each worker has done; who has not is started anew, in the new mode."""
        done: list[Mapping[str, Any]] = []

        async def complete(worker: Worker) -> None:
            try:
                answer = await worker.ask("POST", f"{_MODE}/complete", {}, _WORD_SECONDS)
                if answer.status == 200:
                    done.append(answer.json())
                    return
                why = answer.json()["error"]
            except WorkerSilent as silent:
                why = str(silent)
            _log.error(
                "a worker is started anew in the new mode", extra={"number": worker.number, "why": why}
            )
            worker.kill()

        with trio.move_on_after(2 * _WORD_SECONDS, shield=True):  # whoever asked may be gone: it is done
            async with trio.open_nursery() as nursery:
                for worker in self.workers:
                    nursery.start_soon(complete, worker)
        return done


def _as_one(changes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return dict(merged_pages(changes)) if changes else {}
