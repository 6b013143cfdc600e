"""Convert a Hugging Face checkpoint to OpenVINO IR, for openvino-genai. Run it where optimum-intel is installed.

usage: convert_openvino.py CHECKPOINT OUT --quant bf16|int8
"""

from __future__ import annotations

import argparse
from pathlib import Path


def convert(checkpoint: Path, out: Path, quant: str) -> None:
    """Export with the weights as they are (bf16) or with 8-bit weights, and the tokenizer beside them."""
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer

    model = OVModelForCausalLM.from_pretrained(
        checkpoint, export=True, compile=False, load_in_8bit=quant == "int8"
    )
    model.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.save_pretrained(out)
    encoder, decoder = convert_tokenizer(tokenizer, with_detokenizer=True)
    save_model(encoder, out / "openvino_tokenizer.xml")
    save_model(decoder, out / "openvino_detokenizer.xml")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quant", choices=("bf16", "int8"), default="bf16")
    arguments = parser.parse_args()
    convert(arguments.checkpoint, arguments.out, arguments.quant)
