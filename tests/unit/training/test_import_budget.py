"""Importing the training side, and saying what to train, is cheap."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from modcore.training import TrainableModule
TrainableModule("base", "target").trainset([{"prompt": "a", "response": "b"}]).finetune_method("lora")
heavy = {"torch", "transformers", "peft", "accelerate", "numpy"} & set(sys.modules)
sys.exit(f"loaded: {sorted(heavy)}" if heavy else 0)
"""


def test_no_heavy_package_is_imported_before_there_is_something_to_train() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
