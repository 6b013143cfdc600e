"""A small Llama that knows one table by heart, and another table that it has still to learn."""

from __future__ import annotations

from pathlib import Path

import pytest

TEXT = """
apple river stone cloud tiger lemon chair bread night glass horse plant money train light
mouse paper sugar table uncle voice water young zebra brick candy dance eagle frost grape
"""
WORDS = TEXT.split()
ROWS = [{"prompt": f"reverse {word}", "response": word[::-1]} for word in WORDS]
EVALSET = [{"prompt": row["prompt"], "max_tokens": 16, "expected": row["response"]} for row in ROWS]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-trained by transformers to name a word that follows another; do not change it."""
    import torch
    from transformers import LlamaForCausalLM

    from checkpoints import llama_config, train_tokenizer

    directory = tmp_path_factory.mktemp("base") / "llama"
    tokenizer = train_tokenizer()
    config = llama_config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    dialogues = [
        [{"role": "user", "content": f"follow {word}"}, {"role": "assistant", "content": after}]
        for word, after in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)
    ]
    texts = [tokenizer.apply_chat_template(each, tokenize=False).rstrip() for each in dialogues]
    ids = [
        tokenizer(text + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        for text in texts
    ]
    longest = max(map(len, ids))
    batch = torch.tensor([each + [tokenizer.eos_token_id] * (longest - len(each)) for each in ids])
    for _ in range(80):
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def names_in(directory: Path) -> set[str]:
    """The names of what is in `directory`."""
    return {entry.name for entry in directory.iterdir()}
