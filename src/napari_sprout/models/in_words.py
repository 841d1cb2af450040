"""What is known of a model, in the words that the command line and the plugin share."""

from __future__ import annotations

from typing import Literal

from ..errors import SproutError
from . import store
from .download_errors import megabytes
from .registry import Model

Presence = Literal["built in", "yes", "no", "?"]


def size_of(one: Model) -> str:
    """Return the size of the weights file: "375 MB", "~1.2 GB" where nobody states it."""
    return f"{'' if one.bytes else '~'}{megabytes(one.size)}"


def presence_of(one: Model) -> Presence:
    """Return whether the weights are on this computer; "?" if that cannot be told."""
    if one.embedded:
        return "built in"
    try:
        return "yes" if store.downloaded(one) else "no"
    except SproutError:
        return "?"  # a download says why


def terms_of(one: Model) -> str:
    """Return the sentences to be read before a download: size, licence, whether it is gated."""
    gated = " It must be accepted there before the download." if one.gated else ""
    return f"{one.title}, {size_of(one)}. Its licence is {one.licence}: see {one.page}.{gated}"
