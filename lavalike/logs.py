"""What lavalike tells of its work, and how it comes back from other processes.

Every module has a logger of its own name below ``logging.getLogger("lavalike")``: INFO where
kernels are compiled, graphs are compiled or compiled anew and workers come and go, DEBUG where a
product of spikes takes the dense way. Nothing is shown until a program adds a handler; the root
logger is never touched.

    logging.basicConfig(level=logging.INFO)

Records of processes that a program forks reach this process's handlers through :func:`install`,
those of spawned ones through :class:`Relay`.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import threading
from typing import Any

LOGGER = logging.getLogger("lavalike")


def install() -> bool:
    """Let records of processes that this one forks from now on reach the handlers that the logger
    "lavalike" has now.

    Each handler is wrapped in multiprocessing-logging's, whose thread in this process writes what
    all of them send. For what a program forks itself: a pool, a DataLoader's workers. Whether it
    did: where a platform does not fork nothing is done, and a record says so.

    Example::

        logging.getLogger("lavalike").addHandler(logging.FileHandler("run.log"))
        lavalike.logs.install()
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        LOGGER.warning("logs.install: this platform does not fork processes; nothing is wrapped")
        return False
    for handler in LOGGER.handlers[:]:
        if not isinstance(handler, logging.NullHandler | _forking()):
            LOGGER.removeHandler(handler)
            LOGGER.addHandler(_forking()(handler))
    return True


def uninstall() -> None:
    """Undo :func:`install`, after the records that are under way have been written."""
    for handler in LOGGER.handlers[:]:
        if isinstance(handler, _forking()):
            LOGGER.removeHandler(handler)
            LOGGER.addHandler(handler.end())


def _forking() -> type[Any]:
    """multiprocessing-logging's handler with a queue for forked processes; its own would fix the
    start method of all."""
    global _Forking
    if _Forking is None:
        from multiprocessing_logging import (  # type: ignore[import-untyped]  # it has no types
            MultiProcessingHandler,
        )

        class Forking(MultiProcessingHandler):
            def __init__(self, inner: logging.Handler) -> None:
                logging.Handler.__init__(self, inner.level)
                self.sub_handler, self._is_closed = inner, False
                self.setFormatter(inner.formatter)
                self.filters = inner.filters
                self.queue = multiprocessing.get_context("fork").Queue(-1)
                self._receive_thread = threading.Thread(
                    target=self._receive, name="lavalike.logs", daemon=True
                )
                self._receive_thread.start()

            def end(self) -> logging.Handler:
                """Write what is under way; the handler that was wrapped."""
                self._is_closed = True
                self._receive_thread.join()
                logging.Handler.close(self)
                return self.sub_handler

        _Forking = Forking
    return _Forking


_Forking: type[Any] | None = None


class Relay:
    """Records of spawned processes, handed to this process's loggers of their names, in the order
    in which each process made them.

    Within ``with``. ``ticket`` is what a spawned process gets as an argument and gives to
    :func:`join`.

    Example::

        with Relay() as relay:
            spawn = multiprocessing.get_context("spawn")
            worker = spawn.Process(target=work, args=(relay.ticket,))  # which begins with join(ticket)
            worker.start()
            worker.join()
    """  # noqa: W505

    def __init__(self) -> None:
        self._queue: Any = multiprocessing.get_context("spawn").Queue()
        self.ticket = self._queue, LOGGER.getEffectiveLevel()
        self._listener = logging.handlers.QueueListener(self._queue, _Deliver())

    def __enter__(self) -> Relay:
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.stop()
        self._queue.close()
        self._queue.join_thread()


class _Deliver(logging.Handler):
    """To the logger that a record was made with."""

    def emit(self, record: logging.LogRecord) -> None:
        deliver(record)


def deliver(record: logging.LogRecord) -> None:
    """Hand a record of another process to this one's logger of its name."""
    logging.getLogger(record.name).handle(record)


def join(ticket: Any) -> None:
    """In a spawned process: what lavalike logs here goes to the process of the :class:`Relay`, or
    by any other queue that is ``ticket[0]``."""
    queue, level = ticket
    LOGGER.setLevel(level)
    LOGGER.addHandler(logging.handlers.QueueHandler(queue))
    LOGGER.propagate = False
