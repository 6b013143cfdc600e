"""Training: a checkpoint fine-tuned on rows into another checkpoint (``modcore[train]``).

`module` is what a user meets; `dataset` and `options` check what is asked for, `checkpoints` keeps the
target directory, `encoding` and `finetune` do the work. Importing this loads no torch; knows
nothing of HTTP.
"""

from modcore.training.module import TrainableModule
from modcore.training.perplexity import perplexity

__all__ = ["TrainableModule", "perplexity"]
