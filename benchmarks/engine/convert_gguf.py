"""Convert a Hugging Face checkpoint to GGUF with llama.cpp's converter, for a tokenizer the converter does not know.

The converter identifies a BPE pre-tokenizer by a hash and refuses others; token ids are all the benchmark uses, so this
says `gpt-2` for every one.

usage: convert_gguf.py LLAMA_CPP_SOURCE CHECKPOINT OUT --quant bf16|q8_0
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    source, checkpoint, out, _, quant = sys.argv[1:6]
    sys.path[:0] = [source, str(Path(source) / "gguf-py")]
    from conversion import base

    base.TextModel.get_vocab_base_pre = lambda *_: "gpt-2"
    sys.argv = ["convert_hf_to_gguf.py", checkpoint, "--outfile", out, "--outtype", quant]
    runpy.run_path(str(Path(source) / "convert_hf_to_gguf.py"), run_name="__main__")


if __name__ == "__main__":
    main()
