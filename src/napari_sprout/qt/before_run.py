"""What is looked at before a run: whether the models are there, and memory enough for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari.layers import Image
from psygnal import Signal

from ..core.loaded import encoder_choice, segmenter_choice
from ..core.stages import MAX_WORKING_PIXELS, Stage, needed
from ..errors import SettingsError
from ..models.memory import warning
from ..models.weights import resolve_device
from ..napari_.image_layer import finest, is_slide
from .draft import Draft
from .model_choice import chosen_models, lacking

CHOOSE_REGION = "choose a region of it first, with 'Region from view' or 'Draw region'."
_LEAST = 1_000_000


class BeforeRun:
    """Refuses runs that could only fail, and warns of those that may.

    Parameters
    ----------
    warn, fail
        Tell the person something.
    """

    refused = Signal()
    """A run did not begin because a model's weights are not there."""

    def __init__(self, warn: Callable[[str], None], fail: Callable[[str], None]) -> None:
        self._warn, self._fail = warn, fail

    def allows(self, draft: Draft, layer: Image, until: Stage) -> bool:
        """Whether a run of an image can begin; if not, the person has been told why.

        Parameters
        ----------
        draft
            What is chosen for it.
        layer
            The image.
        until
            The last stage to be run.
        """
        chosen = draft.settings.features
        if is_slide(layer):
            self._fail(f"'{layer.name}' is a slide: {CHOOSE_REGION}")
            return False
        if Stage.ENCODING not in needed(until, draft.settings):
            return True
        if (missing := lacking(chosen)) is not None:
            self._fail(missing.sentence)
            self.refused.emit()
            return False
        if text := _memory_warning(draft, layer):
            self._warn(text)
        return True


def _memory_warning(draft: Draft, layer: Image) -> str:
    chosen, before = draft.settings.features, draft.applied
    pixels = working_pixels(draft, layer)
    if before is not None:
        # The session has its arrays, and the models unless others were chosen.
        was = segmenter_choice(before.features), encoder_choice(before.features)
        if was == (segmenter_choice(chosen), encoder_choice(chosen)):
            return ""
        pixels = 0
    try:
        return warning(*chosen_models(chosen), pixels, resolve_device(draft.device))
    except SettingsError:
        # The run says so itself.
        return ""


def working_room(draft: Draft) -> int:
    """Return how many working pixels a new image can have before the memory runs short.

    At least a million: where that is too much, the run itself says so.
    """
    device = resolve_device(draft.device)

    def fits(pixels: int) -> bool:
        return not warning(*chosen_models(draft.settings.features), pixels, device)

    if fits(MAX_WORKING_PIXELS):
        return MAX_WORKING_PIXELS
    least, most = _LEAST, MAX_WORKING_PIXELS
    while most - least > _LEAST // 10:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


def working_pixels(draft: Draft, layer: Image) -> int:
    """Return how many pixels an image has where the method works."""
    height, width = np.shape(finest(layer))[:2]
    working = draft.settings.image.mpp
    return round(int(height) * int(width) * ((draft.mpp or working) / working) ** 2)
