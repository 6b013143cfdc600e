"""Models that read images: what a plugin declares, and what is the same for all of them.

Reads in the order in which an image travels: `parts`, `sources` (`fetch`), `images`, `rendering`, `reader`
(`cache`, `worker`). Knows no model by name: those are plugins. Needs ``modcore[vision]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modcore.lazy import lazy

if TYPE_CHECKING:
    from modcore.vision.base import ImageSize, VisionInputs, VisionModel
    from modcore.vision.loading import load_vl_model
    from modcore.vision.options import VisionOptions
    from modcore.vision.registry import VISION_MODELS
    from modcore.vision.rendering import PromptFormat

_HOMES = {
    "ImageSize": "base",
    "PromptFormat": "rendering",
    "VISION_MODELS": "registry",
    "VisionInputs": "base",
    "VisionModel": "base",
    "VisionOptions": "options",
    "load_vl_model": "loading",
}

__all__ = [
    "VISION_MODELS",
    "ImageSize",
    "PromptFormat",
    "VisionInputs",
    "VisionModel",
    "VisionOptions",
    "load_vl_model",
]

__getattr__ = lazy(
    __name__,
    _HOMES,
    who="Vision models need",
    extra="vision",
    brings=("PIL", "torch", "transformers", "safetensors", "numpy"),
)
