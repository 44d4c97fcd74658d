"""Loggers in the words of hxtorch.logger (pylogging), over Python's logging.

log = logger.get("my.experiment")
logger.set_loglevel(log, logger.LogLevel.INFO)
log.INFO("accuracy", accuracy)
"""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import Any

from lavalike.arguments import TEXT, arguments, instance, optional


class LogLevel(IntEnum):
    """How much a message matters; TRACE the least."""

    TRACE = 5
    DEBUG = logging.DEBUG
    INFO = logging.INFO
    WARN = logging.WARNING
    ERROR = logging.ERROR
    FATAL = logging.CRITICAL


class Logger:
    """A named logger: a method for each level, whose arguments make one message."""

    def __init__(self, name: str) -> None:
        self.name, self.python = name, logging.getLogger(name or None)

    def TRACE(self, *parts: Any) -> None:
        self._say(LogLevel.TRACE, parts)

    def DEBUG(self, *parts: Any) -> None:
        self._say(LogLevel.DEBUG, parts)

    def INFO(self, *parts: Any) -> None:
        self._say(LogLevel.INFO, parts)

    def WARN(self, *parts: Any) -> None:
        self._say(LogLevel.WARN, parts)

    def ERROR(self, *parts: Any) -> None:
        self._say(LogLevel.ERROR, parts)

    def FATAL(self, *parts: Any) -> None:
        self._say(LogLevel.FATAL, parts)

    def _say(self, level: LogLevel, parts: tuple[Any, ...]) -> None:
        if self.python.isEnabledFor(level):
            self.python.log(level, "%s", " ".join(map(str, parts)))

    def get_number_of_appenders(self) -> int:
        """Handlers of it."""
        return len(self.python.handlers)

    def __repr__(self) -> str:
        return f"Logger({self.name!r})"


_LEVEL = instance(LogLevel)


@arguments(name=TEXT)
def get(name: str = "") -> Logger:
    """The logger ``name``; "": the one above all."""
    return Logger(name)


def get_root() -> Logger:
    """The logger above all."""
    return Logger("")


@arguments(logger=instance(Logger), level=_LEVEL)
def set_loglevel(logger: Logger, level: LogLevel) -> None:
    """Tell messages of ``level`` and above."""
    logger.python.setLevel(level)


@arguments(level=_LEVEL, fname=optional(TEXT), print_location=instance(bool))
def default_config(
    level: LogLevel = LogLevel.WARN, fname: str | None = None, print_location: bool = False
) -> None:
    """Tell messages of ``level`` and above on the terminal, and in the file ``fname`` where there
    is one, with their place in the program where ``print_location`` asks for it."""
    place = " %(pathname)s:%(lineno)d" if print_location else ""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if fname:
        handlers.append(logging.FileHandler(fname))
    logging.basicConfig(
        level=level, format=f"%(levelname)s %(name)s{place} %(message)s", handlers=handlers
    )


def append_to_cout(logger: Logger) -> None:
    """Tell its messages on the terminal."""
    logger.python.addHandler(logging.StreamHandler())


def reset() -> None:
    """Take the handlers of the logger above all away."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
