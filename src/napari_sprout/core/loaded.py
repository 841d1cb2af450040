"""The models of a session: loaded when first needed, let go when the settings want others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import SettingsError
from ..models import encoders, weights
from ..models.protocols import FeatureEncoder, PromptableSegmenter
from ..models.registry import model
from ..models.store import locate
from .outputs import Encoded
from .settings import SAM, FeatureSettings

SegmenterSource = PromptableSegmenter | Callable[[FeatureSettings], PromptableSegmenter]
"""A loaded SAM variant for whatever settings name, or what loads the one that they name."""


class LoadedModels:
    """The SAM variant and the separate encoder that settings name.

    Sessions may share one, so that a model is loaded once for many images.

    Parameters
    ----------
    device
        "auto", "cpu", "cuda", ...
    segmenter, encoder
        Loaded models to use instead of those that the settings name; for the segmenter also
        another way to load them.
    """

    def __init__(
        self,
        device: str,
        segmenter: SegmenterSource | None = None,
        encoder: FeatureEncoder | None = None,
    ) -> None:
        self._device = device
        self._given_segmenter = None if callable(segmenter) else segmenter
        self._source = segmenter if callable(segmenter) else None
        self._given_encoder = encoder
        self._segmenter: tuple[tuple[str, str], PromptableSegmenter] | None = None
        self._encoder: tuple[tuple[str, str, int], FeatureEncoder] | None = None

    def segmenter(self, chosen: FeatureSettings) -> PromptableSegmenter:
        """Return the SAM variant, loaded if it is not."""
        if self._given_segmenter is not None:
            return self._given_segmenter
        wanted, loaded = segmenter_choice(chosen), self._segmenter
        if loaded is None or loaded[0] != wanted:
            # Before the next is loaded: there may be no memory for two.
            loaded = self._segmenter = None
            load = self._source or self._load_segmenter
            loaded = self._segmenter = wanted, load(chosen)
        return loaded[1]

    def _load_segmenter(self, chosen: FeatureSettings) -> PromptableSegmenter:
        path = weights_file(chosen.segmenter_weights)
        return weights.load_segmenter(chosen.segmenter, self._device, path)

    def encoder(self, chosen: FeatureSettings) -> FeatureEncoder:
        """Return the separate encoder, loaded if it is not.

        Raises
        ------
        SettingsError
            If the one given has another number of tokens than the settings say.
        """
        given = self._given_encoder
        if given is not None:
            if given.tokens != chosen.tokens:
                raise SettingsError(
                    f"The encoder '{given.name}' was loaded for {given.tokens} tokens a side: "
                    f"the setting 'features.tokens' cannot be {chosen.tokens}."
                )
            return given
        wanted, loaded = encoder_choice(chosen), self._encoder
        if loaded is None or loaded[0] != wanted:
            loaded = self._encoder = None
            path = weights_file(chosen.encoder_weights)
            loaded = (
                wanted,
                encoders.load_encoder(chosen.encoder, self._device, path, chosen.tokens),
            )
            self._encoder = loaded
        return loaded[1]

    def load(self, chosen: FeatureSettings) -> None:
        """Load all that settings name, so that what is missing is known at once.

        Raises
        ------
        SettingsError
            For an unknown name or device.
        WeightsError
            If weights are missing, damaged, or those of another network.
        """
        self.segmenter(chosen)
        if chosen.encoder != SAM:
            self.encoder(chosen)

    def release_unless(self, chosen: FeatureSettings) -> None:
        """Let the encoder go if settings want another or none: large ones take gigabytes."""
        if self._encoder is not None and self._encoder[0] != encoder_choice(chosen):
            self._encoder = None

    def facts(self, chosen: FeatureSettings) -> dict[str, str]:
        """Describe the SAM variant, without loading it for an image that had no use for it."""
        known = ""
        if self._given_segmenter is None and self._segmenter is None:
            known = weights.weights_sha256(chosen.segmenter, weights_file(chosen.segmenter_weights))
        if known:
            facts = (chosen.segmenter, known, str(weights.resolve_device(self._device)))
        else:
            used = self.segmenter(chosen)
            facts = (used.name, used.weights_sha256, str(used.device))
        return dict(zip(("segmenter", "weights_sha256", "device"), facts, strict=True))


def encoder_facts(chosen: FeatureSettings, encoded: Encoded | None) -> dict[str, str | None]:
    """Describe what made the features; no weights where they are SAM's, or nothing was encoded."""
    used = encoded.encoder if encoded else ""
    sha256 = encoded.encoder_sha256 if encoded else ""
    return {"encoder": used or chosen.encoder, "encoder_sha256": sha256 or None}


def weights_hashes(chosen: FeatureSettings) -> dict[str, str]:
    """Return the SHA-256 of the weights that settings name, without loading them.

    Raises
    ------
    SettingsError
        For an unknown name.
    WeightsError
        If a file cannot be read, or is not on this computer and nobody knows its hash.
    """
    found = {
        "segmenter": weights.weights_sha256(
            chosen.segmenter, weights_file(chosen.segmenter_weights)
        )
    }
    if chosen.encoder != SAM:
        path = weights_file(chosen.encoder_weights)
        found["encoder"] = encoders.weights_sha256(chosen.encoder, path)
    return found


def check_present(chosen: FeatureSettings) -> None:
    """Raise an error unless the weights that settings name are on this computer.

    Raises
    ------
    SettingsError
        For an unknown name.
    WeightsError
        Naming the model.
    """
    locate(model(chosen.segmenter, "segmenter"), weights_file(chosen.segmenter_weights))
    if chosen.encoder != SAM:
        path = weights_file(chosen.encoder_weights)
        encoders.find_weights(chosen.encoder, path)


def segmenter_choice(chosen: FeatureSettings) -> tuple[str, str]:
    """Return what decides which SAM variant it is."""
    return chosen.segmenter, chosen.segmenter_weights


def encoder_choice(chosen: FeatureSettings) -> tuple[str, str, int]:
    """Return what decides which separate encoder it is."""
    return chosen.encoder, chosen.encoder_weights, chosen.tokens


def weights_file(setting: str) -> Path | None:
    """Return the path that a setting gives; None for an empty one."""
    return Path(setting).expanduser() if setting else None
