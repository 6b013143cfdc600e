"""Where the settings of the processor stand in each layout, and what they may be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modcore.checkpoint import read_json_object
from modcore.engine.config_reader import ConfigReader
from modcore.errors import CheckpointError
from modcore_internvl.config import InternVLConfig
from modcore_internvl.layouts import CLIP_MEAN, CLIP_STD, HF, IMAGENET_MEAN, IMAGENET_STD, REMOTE
from modcore_internvl.processing import Processor
from modcore_internvl.tiling import MOST_TILES

BICUBIC = 3

#: What transformers fills in.
_HF_DEFAULTS = {
    "size": {"height": 384, "width": 384},
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": BICUBIC,
    "rescale_factor": 1 / 255,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "min_patches": 1,
    "max_patches": 12,
}
_REMOTE_DEFAULTS = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}


def read_hf(directory: Path) -> Processor:
    """Of ``processor_config.json``, or of ``preprocessor_config.json`` where that does not say it.

    Images are always cut, as transformers' processor does whatever ``crop_to_patches`` says.
    """
    raw, source = _image_processor(directory)
    said = {key: value for key, value in raw.items() if value is not None}
    reader = ConfigReader(said, source, _HF_DEFAULTS)
    if not reader.boolean("do_resize"):
        raise reader.error("do_resize", "is false; tiles of one size are what is served")
    fewest, most = _tile_counts(reader, "min_patches", "max_patches")
    normalises = reader.boolean("do_normalize")
    return Processor(
        tile=_square(reader),
        fewest=fewest,
        most=most,
        has_thumbnail=True,
        resample=_filter(reader),
        scale=reader.number("rescale_factor") if reader.boolean("do_rescale") else None,
        mean=_channels(reader, "image_mean") if normalises else None,
        std=_channels(reader, "image_std", above=0.0) if normalises else None,
    )


def read_remote(directory: Path, config: Mapping[str, Any]) -> Processor:
    """Of ``config.json``; mean and deviation of ``preprocessor_config.json`` where there is one."""
    source = str(directory / "config.json")
    reader = ConfigReader(config, source, REMOTE.defaults)
    if reader.boolean("pad2square"):
        raise reader.error("pad2square", "is true, which is not served")
    tile = reader.optional_integer("force_image_size")
    if tile is None:
        tower = ConfigReader(config["vision_config"], source, REMOTE.tower_defaults)
        tile = tower.integer("image_size")
    fewest, most = _tile_counts(reader, "min_dynamic_patch", "max_dynamic_patch")
    if not reader.boolean("dynamic_image_size"):
        fewest = most = 1
    raw, name = _image_processor(directory)
    scales = ConfigReader(raw, name, _REMOTE_DEFAULTS)
    return Processor(
        tile=tile,
        fewest=fewest,
        most=most,
        has_thumbnail=reader.boolean("use_thumbnail"),
        resample=BICUBIC,
        scale=1 / 255,
        mean=_channels(scales, "image_mean"),
        std=_channels(scales, "image_std", above=0.0),
    )


def tokens_of_a_tile(processor: Processor, config: InternVLConfig, source: str) -> int:
    """How many tokens a tile becomes; raises CheckpointError, with the counts, for a fraction."""
    grid = processor.tile // config.tower.patch_size
    if grid == 0 or grid % config.shuffle:
        raise CheckpointError(
            f"{source}: a tile of {processor.tile} pixels is {grid} patches of {config.tower.patch_size} a "
            f"side, which pixel shuffle cannot divide by {config.shuffle}; correct the sizes."
        )
    return int((grid // config.shuffle) ** 2)


def declared_tokens(directory: Path, config: Mapping[str, Any]) -> int:
    """``image_seq_length``: what transformers' processor makes of a tile."""
    file = directory / "processor_config.json"
    said = read_json_object(file) if file.is_file() else {}
    if "image_seq_length" in said:
        return ConfigReader(said, str(file)).integer("image_seq_length")
    return ConfigReader(config, str(directory / "config.json"), HF.defaults).integer(
        "image_seq_length"
    )


def _image_processor(directory: Path) -> tuple[dict[str, Any], str]:
    file = directory / "processor_config.json"
    nested = read_json_object(file).get("image_processor") if file.is_file() else None
    if isinstance(nested, dict):
        return nested, f"{file}, image_processor"
    file = directory / "preprocessor_config.json"
    return (read_json_object(file) if file.is_file() else {}), str(file)


def _tile_counts(reader: ConfigReader, fewest_key: str, most_key: str) -> tuple[int, int]:
    fewest, most = reader.integer(fewest_key), reader.integer(most_key)
    if most > MOST_TILES:
        raise reader.error(most_key, f"is {most}; {MOST_TILES} tiles of an image are the most")
    if fewest > most:
        raise reader.error(fewest_key, f"is {fewest}, which is more than the {most} of {most_key}")
    return fewest, most


def _square(reader: ConfigReader) -> int:
    size = reader.value("size")
    if isinstance(size, dict):
        height, width = size.get("height"), size.get("width")
    else:
        height = width = size
    if isinstance(height, bool) or not isinstance(height, int) or height < 1 or height != width:
        raise reader.error("size", f"is {size!r:.80} where an equal height and width are expected")
    return height


def _filter(reader: ConfigReader) -> int:
    number = reader.integer("resample", minimum=0)
    if number > 5:
        raise reader.error("resample", f"is {number}; Pillow's filters are 0 to 5")
    return number


def _channels(reader: ConfigReader, key: str, above: float = -1e3) -> tuple[float, ...]:
    """Three numbers, or one for all three."""
    value = reader.value(key)
    numbers = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    if len(numbers) != 3:
        raise reader.error(
            key, f"is {value!r:.80} where a number for each of 3 channels is expected"
        )
    return tuple(ConfigReader({key: each}, reader.source).number(key, above) for each in numbers)
