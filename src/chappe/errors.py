"""The few exceptions a caller may meet. Everything chappe raises on purpose is a `ChappeError`."""

from __future__ import annotations

__all__ = [
    "ChappeError",
    "InputError",
    "MissingDependency",
    "ModelError",
    "RateError",
    "StreamError",
    "UsageError",
    "VersionError",
]


class ChappeError(Exception):
    """Base class. The message is one sentence: what was read, what was expected, what was found, what to do."""

    exit_code = 1


class UsageError(ChappeError):
    """The call itself is wrong (an unknown option, model or value)."""

    exit_code = 2


class InputError(ChappeError):
    """An image, label map or data set that cannot be used."""


class RateError(InputError):
    """The requested rate is outside what this codec reaches on this image."""


class StreamError(ChappeError):
    """Bytes that are not a chappe file, or are damaged or cut."""


class VersionError(StreamError):
    """A sound file that needs another version of the format."""


class ModelError(StreamError):
    """A sound file that needs another model, or other weights of the same model."""


class MissingDependency(ChappeError):
    """An optional library is not installed; the message names the extra that brings it."""
