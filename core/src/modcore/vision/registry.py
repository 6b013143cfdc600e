"""The vision models that are installed, or registered in this process."""

from __future__ import annotations

from modcore.plugins import plugin_manager
from modcore.plugins.discovery import VISION_MODELS as GROUP
from modcore.registry import Registry

#: The ids of the entry-point group ``modcore.vision_models``; classes are imported as they are used.
VISION_MODELS: Registry = plugin_manager().registry(GROUP)
