"""What a person has chosen for an image, before its next run makes it so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from napari.layers import Image

from ..core.edits import Piece
from ..core.loaded import SegmenterSource, weights_file
from ..core.settings import FeatureSettings, Settings
from ..models.weights import load_segmenter, resolve_device
from ..napari_.controller import SessionController
from ..napari_.image_layer import pixel_size_of
from .earlier import earlier_work
from .memory import FrugalSegmenter
from .preferences import preferences, use_threads


@dataclass
class Draft:
    """What a person has chosen for an image, to be used by its next run.

    Attributes
    ----------
    settings
        The method's settings.
    mpp
        Pixel size in um; None if unknown. It counts until the session begins.
    device
        "auto", "cpu", ...; it counts until the session begins.
    earlier
        Work of an earlier day on this image, about which nothing is decided yet.
    applied
        The session's own settings, as last seen.
    fixed
        Why the pixel size cannot be chosen, in a sentence; "" if it can.
    """

    settings: Settings = field(default_factory=Settings)
    mpp: float | None = None
    device: str = "auto"
    earlier: Path | None = None
    applied: Settings | None = None
    fixed: str = ""

    def follow(self, settings: Settings) -> None:
        """Take on the session's settings where undo or a run has changed them."""
        if settings != self.applied:
            self.settings = self.applied = settings

    def open_nuclei(self, on: SessionController, pieces: tuple[Piece, ...]) -> None:
        """Show nuclei made elsewhere in a session, with the settings that are chosen."""
        self.applied = self.settings
        on.change_settings(self.settings)
        on.open_nuclei(pieces)
        if on.view is not None:
            on.scene.introduce()

    def forget_opened_nuclei(self) -> None:
        """Take the points from elsewhere: nuclei that were opened are gone with their session."""
        if self.settings.prompts.source == "given":
            self.settings = self.settings.with_changes(prompts={"source": "activation"})


def draft_for(layer: Image, device: str | None, *, begun: bool) -> Draft:
    """Return what is chosen for an image before a person has chosen anything.

    Parameters
    ----------
    layer
        The image.
    device
        The device; that of the person's preferences by default.
    begun
        Whether it is worked on already, and no earlier work is to be offered.
    """
    earlier = None if begun else earlier_work(layer)
    device = device or preferences().device
    return Draft(mpp=pixel_size_of(layer), device=device, earlier=earlier)


MakeSegmenter = Callable[[Draft, Callable[[str], None]], SegmenterSource | None]


def frugal_segmenter(draft: Draft, say: Callable[[str], None]) -> SegmenterSource | None:
    """Return what loads models for a graphics card that may be short of memory; None for the CPU.

    The session that begins computes on as many cores as the person's preferences say.

    Raises
    ------
    SettingsError
        If the chosen device is not there.
    """
    use_threads(preferences().threads)
    device = resolve_device(draft.device)
    if device.type == "cpu":
        return None

    def frugal(chosen: FeatureSettings) -> FrugalSegmenter:
        path = weights_file(chosen.segmenter_weights)
        return FrugalSegmenter(lambda on: load_segmenter(chosen.segmenter, on, path), device, say)

    return frugal
