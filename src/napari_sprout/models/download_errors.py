"""Why a download failed, in a sentence that says what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..errors import SproutError, WeightsError
from .registry import Model

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_NETWORK: Final = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def megabytes(count: int) -> str:
    """Return a number of bytes as people say it: "20 MB", "1.2 GB"."""
    return f"{count / 1e9:.1f} GB" if count >= 995e6 else f"{max(1, round(count / 1e6))} MB"


def explain(error: BaseException, one: Model, host: str, *, known: bool) -> BaseException:
    """Return the error to raise for one that arose while a model's weights were fetched.

    Parameters
    ----------
    error
        What happened.
    one
        What was to be fetched.
    host
        Where from, for example "https://huggingface.co".
    known
        Whether a token was sent along, which tells who asks.

    Returns
    -------
    BaseException
        A WeightsError; the error itself where it says enough, or is a mistake of the program.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, SproutError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return WeightsError(
            f"'{one.name}' was not fetched, because HF_HUB_OFFLINE forbids it: unset that variable "
            f"and try again, or copy the file ('napari-sprout models info {one.name}' says where)."
        )
    status = status_of(error)
    if status:
        return WeightsError(_refused(status, one, host, known))
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK:
        return WeightsError(_unreached(error, one, host))
    return error


def unwritable(path: Path, error: OSError) -> WeightsError:
    """Return the error to raise where the weights cannot be written."""
    if error.errno in _FULL:
        return WeightsError(
            f"There is no room for the weights in '{path.parent}' ({error.strerror}): free some "
            "space and fetch them again, which goes on where it stopped, or set "
            "NAPARI_SPROUT_MODELS to a folder on another disk."
        )
    return WeightsError(
        f"The weights cannot be written to '{path.parent}' ({error.strerror or error}): allow it, "
        "or set NAPARI_SPROUT_MODELS to another folder."
    )


def status_of(error: BaseException) -> int:
    """Return the HTTP status that an error stands for; 0 if it is of another kind."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status if isinstance(status, int) else 0


def _refused(status: int, one: Model, host: str, known: bool) -> str:
    if status in (401, 403) and one.gated:
        return _kept_back(status, one, known)
    if status in (401, 403):
        return (
            f"{host} refused to give '{one.name}' ({status}): if you set HF_TOKEN or ran "
            "'hf auth login' long ago, log in again, or unset it; this model needs no account."
        )
    if status == 404:
        return (
            f"'{one.file}' of '{one.repository}' is not at {host} (404): look at {one.page} where "
            f"it is now, fetch it from there and give its path."
        )
    if status == 429:
        return f"{host} has had too many requests from here (429): try again in some minutes."
    return f"{host} did not give '{one.name}' (error {status}): try again later."


def _kept_back(status: int, one: Model, known: bool) -> str:
    if not known:
        return (
            f"'{one.name}' is given only to those who accepted its licence: accept it at "
            f"{one.page} with a Hugging Face account, then run 'hf auth login' (or set HF_TOKEN) "
            "and fetch it again."
        )
    if status == 401:
        return (
            "Hugging Face does not know your token any more: run 'hf auth login' again (or set "
            f"HF_TOKEN to a valid one); '{one.name}' also wants its licence accepted at {one.page}."
        )
    return (
        f"'{one.name}' is given only to those who accepted its licence, and your Hugging Face "
        f"account is not among them yet: accept it at {one.page} (for some models the authors then "
        "decide), or log in as somebody who has ('hf auth login' or HF_TOKEN)."
    )


def _unreached(error: BaseException, one: Model, host: str) -> str:
    causes = list(_chain(error))
    kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    again = f"fetch '{one.name}' again"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return (
            f"The connection to {host} is not trusted ({_last(causes)}): where a firewall opens "
            f"secure connections, ask for its certificate, set SSL_CERT_FILE to it, and {again}."
        )
    if "ProxyError" in kinds:
        return f"The proxy did not connect to {host}: check HTTPS_PROXY and {again}."
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return (
            f"{host} cannot be found: check the network (and HTTPS_PROXY, if you need a proxy) "
            f"and {again}."
        )
    broken = any(isinstance(cause, ConnectionError) for cause in causes)
    if not broken and kinds & {"TimeoutError", "TimeoutException", "Timeout"}:
        return f"{host} does not answer: check the network and {again}, which goes on from there."
    return (
        f"The connection to {host} failed or broke off ({_last(causes)}): check the network and "
        f"{again}, which goes on from there."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _last(causes: list[BaseException]) -> str:
    """Return what the error itself says, on one line."""
    said = next((" ".join(str(cause).split()) for cause in causes if str(cause)), "")
    return said[:160].rstrip(".") or type(causes[0]).__name__
