"""timm's vision transformers: made as their publishers say, and given their tensors.

Nothing is re-implemented. The networks are built without memory of their own and take
their tensors from the weights file, whose keys must fit exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import timm
import torch
from timm.layers.mlp import SwiGLUPacked
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from ..errors import SettingsError, WeightsError
from .parts import own_copies
from .registry import TIMM, TOKENS, model

# What stands in the registry as a word.
_CLASSES: Final[Mapping[str, Any]] = {"SwiGLUPacked": SwiGLUPacked, "SiLU": nn.SiLU}
# A classifier's parameters: files have them or not, features never need them.
_HEADS: Final = ("head.", "head_dist.")
_NAMED_KEYS: Final = 3
_NEWER_TIMM: Final = "This encoder needs a newer version of timm: 'pip install --upgrade timm'."


@dataclass(frozen=True)
class Recipe:
    """How a network is made, and what it expects of pixels.

    Attributes
    ----------
    architecture
        timm's name of it.
    arguments
        For timm; classes may be given by name, as in the registry.
    patch
        Side of a token in pixels of the network's input.
    mean, std
        What pixels of 0 to 1 are normalised with, R, G, B.
    """

    architecture: str
    arguments: Mapping[str, Any]
    patch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, name: str) -> Recipe:
        """Return the recipe of an encoder's name.

        Raises
        ------
        SettingsError
            For a name that neither the registry nor timm knows, or that is no
            vision transformer of square patches.
        """
        if name.startswith(TIMM):
            return cls._of_timm(name)
        one = model(name, "encoder")
        return cls(one.architecture, one.arguments, one.patch, one.mean, one.std)

    @classmethod
    def _of_timm(cls, name: str) -> Recipe:
        architecture = name.removeprefix(TIMM)
        # Names with a prefix of their own would make timm ask the network for the recipe.
        if not _known_to_timm(architecture):
            raise SettingsError(
                f"timm knows no network '{architecture}': see https://huggingface.co/timm for "
                "their names."
            )
        refused = f"'{name}' cannot be an encoder: it is no vision transformer of square patches."
        try:
            network = _made(architecture, {})
            side = 2 * int(network.patch_embed.patch_size[0])
            network = _made(architecture, {"img_size": side})
            with torch.device("meta"):
                found = network.forward_features(torch.empty(1, 3, side, side)).shape
            sides = set(network.patch_embed.patch_size)
            sound = tuple(found) == (1, 4 + network.num_prefix_tokens, network.embed_dim)
        except (AttributeError, AssertionError, TypeError, ValueError, RuntimeError) as error:
            raise SettingsError(refused) from error
        if not sound or len(sides) != 1:
            raise SettingsError(refused)
        facts = network.pretrained_cfg
        return cls(architecture, {}, side // 2, tuple(facts["mean"]), tuple(facts["std"]))

    def build(self, tokens: int = TOKENS) -> Any:
        """Return timm's network for `tokens` tokens a side, on the meta device, without a head.

        Raises
        ------
        SettingsError
            If the timm installed is too old to know it.
        """
        if not _known_to_timm(self.architecture):
            raise SettingsError(_NEWER_TIMM)
        return _made(self.architecture, {**self.arguments, "img_size": tokens * self.patch})


def _known_to_timm(architecture: str) -> bool:
    """Whether timm has a network of that name, and weights of that tag if there is one."""
    name, _, tag = architecture.partition(".")
    if not timm.is_model(name):
        return False
    try:
        return not tag or timm.get_pretrained_cfg(architecture) is not None
    except RuntimeError:
        return False


def _made(architecture: str, arguments: Mapping[str, Any]) -> Any:
    chosen: dict[str, Any] = {
        key: _CLASSES[value] if isinstance(value, str) and key.endswith("_layer") else value
        for key, value in arguments.items()
    }
    with torch.device("meta"):
        network = timm.create_model(architecture, pretrained=False, num_classes=0, **chosen)
    return network.eval().requires_grad_(False)


def fill(network: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Give a network on the meta device its tensors, in float32 on the CPU.

    Position embeddings made for another number of tokens are resampled by timm's own
    rule; a classifier's parameters are left out.

    Parameters
    ----------
    network
        From :meth:`Recipe.build`.
    state
        Tensors by name, as published.
    source
        What the sentence calls them in an error.

    Raises
    ------
    WeightsError
        If a tensor is missing, left over, or has another shape than the network's.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    _check_patch(network, state, source)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(_HEADS)}
    try:
        tensors = _filtered(network, kept)
    except (RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{source} are not those of this encoder ({error}).") from error
    difference = _difference(wanted, tensors)
    if difference:
        raise WeightsError(f"{source} are not those of this encoder: they {difference}.")
    network.load_state_dict(own_copies(tensors), strict=True, assign=True)
    network.requires_grad_(False)
    _make_buffers(network)


def _check_patch(network: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse patches of another size: timm would resample them without a word."""
    given = state.get("patch_embed.proj.weight")
    side = int(network.patch_embed.patch_size[0])
    if given is not None and given.ndim == 4 and given.shape[-1] != side:
        raise WeightsError(
            f"{source} are not those of this encoder: their tokens are {given.shape[-1]} px wide, "
            f"not {side}."
        )


def _filtered(network: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as timm would load them: renamed, positions on the network's grid."""
    made: dict[str, Tensor] = state
    if isinstance(network, vision_transformer.VisionTransformer):
        made = vision_transformer.checkpoint_filter_fn(state, network)
    elif isinstance(network, eva.Eva):
        made = eva.checkpoint_filter_fn(state, network)
    return made


def _difference(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, Tensor]) -> str:
    """Say how tensors differ from those wanted; empty if they do not."""
    if lacking := wanted.keys() - given.keys():
        return f"lack {_few(lacking)}"
    if left_over := given.keys() - wanted.keys():
        return f"also hold {_few(left_over)}"
    others = {name for name, shape in wanted.items() if tuple(given[name].shape) != shape}
    return f"have another shape of {_few(others)}" if others else ""


def _few(names: set[str]) -> str:
    named = ", ".join(f"'{name}'" for name in sorted(names)[:_NAMED_KEYS])
    more = len(names) - _NAMED_KEYS
    return f"{named} and {more} more" if more > 0 else named


def _make_buffers(network: nn.Module) -> None:
    """Compute what no file holds: tables of rotary position embeddings."""
    for module in network.modules():
        absent = [key for key, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        for key in absent:
            empty = torch.empty_like(module.get_buffer(key), device="cpu")
            module.register_buffer(key, empty, persistent=False)
        if absent:
            compute = getattr(module, "init_non_persistent_buffers", None)
            if compute is None:
                raise SettingsError(_NEWER_TIMM)
            compute()
