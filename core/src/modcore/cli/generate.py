"""``modcore generate``: complete one prompt."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from modcore.cli.engine_options import add_engine_options, build_engine
from modcore.cli.images import PLACE, conversation, verify_files
from modcore.cli.sampling_options import add_sampling_options, sampling_params
from modcore.errors import InvalidRequest
from modcore.plugins.commands import Command

if TYPE_CHECKING:
    from modcore.engine import Choice, Engine, Prompt, SamplingParams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint directory")
    parser.add_argument("--prompt", metavar="TEXT", required=True, help="the text to continue")
    parser.add_argument(
        "--image",
        metavar="FILE",
        action="append",
        default=[],
        help="show this image (may be repeated); images come first, in order, or where the prompt says <image>",
    )
    parser.add_argument(
        "--image-detail",
        choices=("auto", "low", "high"),
        default="auto",
        help="low: one tile an image; high, and auto: as many as the checkpoint cuts",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON once the answer is finished"
    )
    add_sampling_options(parser)
    add_engine_options(parser)


def run(args: argparse.Namespace) -> int:
    """Generate: streamed as text, or at once as JSON."""
    params = sampling_params(args)
    if not args.prompt:
        raise InvalidRequest("the prompt is empty; give it some text.", param="prompt")
    if params.logprobs is not None and not args.json:
        raise InvalidRequest("log probabilities are shown with --json.", param="logprobs")
    verify_files(args.image)
    with build_engine(args.checkpoint, args) as engine:
        try:
            _answer(engine, _prompt(engine, args), params, as_json=args.json)
        except InvalidRequest as error:
            if error.param != "messages":
                raise
            raise InvalidRequest(str(error), param="image" if args.image else "prompt") from error
    return 0


def _prompt(engine: Engine, args: argparse.Namespace) -> Prompt:
    """The prompt's text; a message when images are shown."""
    if engine.multimodal is None and args.image:
        raise InvalidRequest(
            f"{args.checkpoint} takes text only; leave out what it cannot read, or use a vision model.",
            param="image",
        )
    shows = args.image or (engine.multimodal is not None and PLACE in args.prompt)
    if not shows:
        return str(args.prompt)
    return conversation(args.prompt, args.image, args.image_detail)


def _answer(engine: Engine, prompt: Prompt, params: SamplingParams, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(engine, prompt, params), ensure_ascii=False))
    elif params.n > 1:
        _print_choices(engine, prompt, params)
    else:
        for piece in engine.stream(prompt, params):
            print(piece.text, end="", flush=True)
        print()


def _print_choices(engine: Engine, prompt: Prompt, params: SamplingParams) -> None:
    """Each answer under its number: several that are streamed would be mixed."""
    for choice in engine.generate([prompt], params)[0].choices:
        print(f"[{choice.index + 1}] {choice.text}")


def _as_json(engine: Engine, prompt: Prompt, params: SamplingParams) -> dict[str, Any]:
    """The first answer, with all `choices` when there are several."""
    generation = engine.generate([prompt], params)[0]
    result: dict[str, Any] = generation.to_json()
    each = [_choice(engine, choice) for choice in generation.choices]
    if params.logprobs is not None:
        result["logprobs"] = each[0]["logprobs"]
    if params.n > 1:
        result["choices"] = each
    return result


def _choice(engine: Engine, choice: Choice) -> dict[str, Any]:
    from modcore.serve.logprobs import Vocabulary, chat_logprobs

    shown: dict[str, Any] = {
        "index": choice.index,
        "text": choice.text,
        "token_ids": choice.token_ids,
        "finish_reason": choice.finish_reason,
    }
    if choice.logprobs is not None:
        shown["logprobs"] = chat_logprobs(choice.logprobs, Vocabulary(engine))
    return shown


COMMAND = Command("generate", "Complete one prompt with a checkpoint.", add_arguments, run)
