"""What a stage's output depends on, as one hash: equal keys mean equal outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from .edits import PaintReference
from .fit import SlideFit
from .given import GivenNuclei
from .settings import Settings
from .stages import STAGES, Stage, reads


def stage_keys(
    settings: Settings,
    painted: Sequence[PaintReference] = (),
    given: GivenNuclei | None = None,
    fit: SlideFit | None = None,
) -> dict[Stage, str]:
    """Return for every stage a hash of all the settings and inputs its output depends on.

    The image itself is not part of it: keys compare outputs of one image.

    Parameters
    ----------
    settings
        The method's settings.
    painted
        What a person has drawn into the reference masks.
    given
        Nuclei made elsewhere.
    fit
        What was found on a sample of the slide that the image is a part of.
    """
    values = settings.to_dict()
    keys: dict[Stage, str] = {}
    for stage in Stage:
        inputs = [keys[earlier] for earlier in reads(stage, settings)]
        own = {group: values[group] for group in STAGES[stage].groups}
        if stage is Stage.REFERENCE and painted:
            own["painted"] = [stroke.key for stroke in painted]
        if stage is Stage.PROMPTS and given and settings.prompts.source == "given":
            own["given"] = given.key
        if stage is Stage.TISSUE and fit:
            own["fit"] = fit.key
        text = json.dumps([stage, inputs, own], sort_keys=True)
        keys[stage] = hashlib.sha256(text.encode()).hexdigest()
    return keys
