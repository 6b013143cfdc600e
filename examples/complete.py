"""Complete prompts with a checkpoint, from Python: together, piece by piece, and by hand.

python examples/complete.py CHECKPOINT
"""

import sys

from modcore.engine import Engine, SamplingParams


def main(checkpoint: str) -> None:
    engine = Engine.from_pretrained(checkpoint)
    greedy = SamplingParams(max_tokens=12, temperature=0.0)

    for result in engine.generate(["The first", "The second"], greedy):
        print(repr(result.text), result.finish_reason, result.usage.total_tokens)

    for piece in engine.stream("The third", SamplingParams(max_tokens=12, seed=7, top_p=0.9)):
        print(piece.text, end="", flush=True)
    print()

    ids = engine.encode("The fourth")
    likeliest = engine.logits(ids)[-1].argmax()
    print("next token by hand:", repr(engine.tokenizer.decode([int(likeliest)])))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"Usage: python {sys.argv[0]} CHECKPOINT")
    main(sys.argv[1])
