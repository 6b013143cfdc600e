"""From chat messages to what the engine takes: checked, rendered, and with the features of each image.

Everything that can be refused is refused before anything is decoded. Decoding, cutting and the tower
are the worker's; an image that is being read for somebody is not read again for somebody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

import torch

from modcore.engine.features import Span
from modcore.engine.multimodal import MediaStats, Reading
from modcore.errors import EngineClosed, ModcoreError, StepFailed
from modcore.vision.cache import FeatureCache
from modcore.vision.images import BadImage
from modcore.vision.parts import ImagePart, split_messages
from modcore.vision.rendering import RenderedPrompt
from modcore.vision.sources import SeenImage, see_images, verify_count
from modcore.vision.worker import FeatureWorker

if TYPE_CHECKING:
    from modcore.vision.base import ImageSize, VisionModel

#: How often somebody who waits for features is asked whether they are still wanted, in seconds.
_ASKED_EVERY = 0.05


class Prepared:
    """Messages that may be read: their prompt, and their images, which are not decoded yet."""

    def __init__(
        self,
        model: VisionModel,
        messages: Any,
        most_tokens: int | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        model.build_preprocessor()
        plain, self.parts = split_messages(messages)
        verify_count(len(self.parts), model.options)
        self.images = see_images(self.parts, model.options, is_wanted=is_wanted)
        self.sizes: list[ImageSize] = [
            model.measure(image.width, image.height, part.detail)
            for image, part in zip(self.images, self.parts, strict=True)
        ]
        model.verify_sizes(self.sizes)
        counts = [size.tokens for size in self.sizes]
        self.prompt: RenderedPrompt = model.renderer.render(plain, counts, most_tokens)

    def pixels(self, model: VisionModel, place: int) -> torch.Tensor:
        """The tiles of one image; raises BadImage, without its number, when its data is damaged."""
        return model.pixels(self.images[place].open(), self.parts[place].detail)


class FeatureReader:
    """Reads messages for `model`, with a worker and a cache of its own."""

    def __init__(self, model: VisionModel) -> None:
        self._model = model
        self._worker = FeatureWorker()
        self._cache = FeatureCache(model.options.feature_cache_bytes)
        self._running: dict[bytes, Future[torch.Tensor]] = {}
        self._wanted: dict[Future[torch.Tensor], int] = {}
        self._lock = threading.Lock()
        self._images = self._hits = self._tiles = 0
        self._seconds = 0.0

    def read(
        self,
        messages: Sequence[Mapping[str, Any]],
        most_tokens: int | None,
        is_wanted: Callable[[], bool],
    ) -> Reading:
        """See `MultimodalModel.read`."""
        prepared = Prepared(self._model, messages, most_tokens, is_wanted)
        keys = [_key(*pair) for pair in zip(prepared.images, prepared.parts, strict=True)]
        futures: list[Future[torch.Tensor]] = []
        try:
            for place, key in enumerate(keys):
                futures.append(self._features(prepared, place, key))
            features = _results(futures, is_wanted)
        finally:
            self._leave(futures)
        spans = zip(prepared.prompt.spans, features, keys, strict=True)
        return Reading(
            prepared.prompt.ids, tuple(Span(*span, rows, key) for span, rows, key in spans)
        )

    def stats(self) -> MediaStats:
        """See `MultimodalModel.stats`."""
        waiting = len(self._running)
        return MediaStats(
            images_total=self._images,
            cache_hits_total=self._hits,
            tiles_total=self._tiles,
            seconds_total=self._seconds,
            waiting=waiting,
            cache_bytes=self._cache.bytes_held,
        )

    def close(self) -> None:
        """End the worker; whoever waits gets EngineClosed."""
        self._worker.close()

    def _features(self, prepared: Prepared, place: int, key: bytes) -> Future[torch.Tensor]:
        """The features of one image: known, on their way, or on their way from now on."""
        with self._lock:
            self._images += 1
            known = self._cache.get(key)
            if known is not None:
                self._hits += 1
                return _done(known)
            future = self._running.get(key)
            if future is None:
                future = self._worker.submit(lambda: self._compute(prepared, place, key))
                self._running[key] = future
            else:
                self._hits += 1
            self._wanted[future] = self._wanted.get(future, 0) + 1
            return future

    def _leave(self, futures: Sequence[Future[torch.Tensor]]) -> None:
        """Nobody waits for these any more on behalf of one prompt; what nobody waits for is dropped."""
        with self._lock:
            for future in futures:
                count = self._wanted.pop(future, 0) - 1
                if count > 0:
                    self._wanted[future] = count
                elif future.cancel() or future.done():
                    self._forget(future)

    def _forget(self, future: Future[torch.Tensor]) -> None:
        for key, running in list(self._running.items()):
            if running is future:
                del self._running[key]

    def _compute(self, prepared: Prepared, place: int, key: bytes) -> torch.Tensor:
        started = time.monotonic()
        try:
            pixels = prepared.pixels(self._model, place)
            made = self._model.forward([pixels])
            features = _only(made, prepared.sizes[place].tokens, type(self._model).__name__)
            self._cache.put(key, features)
            return features
        finally:
            with self._lock:
                self._running.pop(key, None)
                self._tiles += prepared.sizes[place].tiles
                self._seconds += time.monotonic() - started


def _only(made: Any, tokens: int, model: str) -> torch.Tensor:
    """The features of the one image that `made` is of; raises StepFailed for anything else."""
    features = made[0] if isinstance(made, (list, tuple, torch.Tensor)) and len(made) == 1 else made
    if not isinstance(features, torch.Tensor):
        raise StepFailed(
            f"{model} made {features!r:.80} (a {type(features).__name__}) of an image, and not a list of one "
            "tensor [tokens, hidden]; update the package that brings it."
        )
    if features.dim() != 2 or len(features) != tokens:
        raise StepFailed(
            f"{model} made features of shape {list(features.shape)} of an image that it measured as "
            f"{tokens} tokens; update the package that brings it."
        )
    return features


def _key(image: SeenImage, part: ImagePart) -> bytes:
    """What tells the features from all others: what is shown, and how closely it is looked at."""
    return hashlib.sha256(image.digest + part.detail.encode()).digest()


def _done(features: torch.Tensor) -> Future[torch.Tensor]:
    future: Future[torch.Tensor] = Future()
    future.set_result(features)
    return future


def _results(
    futures: Sequence[Future[torch.Tensor]], is_wanted: Callable[[], bool]
) -> list[torch.Tensor]:
    results = []
    for place, future in enumerate(futures):
        try:
            _wait(future, is_wanted)
            results.append(future.result())
        except CancelledError:
            raise EngineClosed("The engine has been closed; make a new one.") from None
        except BadImage as error:
            raise error.of(place + 1, len(futures)) from error.__cause__
        except ModcoreError:
            raise
        except Exception as error:
            raise StepFailed(f"Reading an image failed: {type(error).__name__}: {error}") from error
    return results


def _wait(future: Future[torch.Tensor], is_wanted: Callable[[], bool]) -> None:
    """Wait for the end of `future`; raises CancelledError for one that was dropped.

    `concurrent.futures.wait` would never see that end: a pool that is shut down tells nobody of it.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            future.exception(_ASKED_EVERY)
            return
        if not is_wanted():
            raise EngineClosed("Nobody waits for the answer any more.")
