"""Chat templates that were written for text: what makes of them templates that take images, too.

Checkpoints of the remote-code layout bring the template of their language model, which knows contents
that are one text. It is given such: images become placeholders in it, as the models were trained.
"""

from __future__ import annotations

from typing import Any

#: Jinja that turns the parts of each message into one text, then goes on with the template.
_AS_TEXT = (
    "{%- set as_text = namespace(messages=[]) -%}"
    "{%- for message in messages -%}"
    "{%- set said = namespace(text='') -%}"
    "{%- if message['content'] is string -%}{%- set said.text = message['content'] -%}"
    "{%- else -%}{%- for part in message['content'] or [] -%}"
    "{%- if part['type'] == 'image' -%}{%- set said.text = said.text + 'PLACEHOLDER\n' -%}"
    "{%- else -%}{%- set said.text = said.text + part['text'] -%}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{%- set as_text.messages = as_text.messages + [dict(message, content=said.text)] -%}"
    "{%- endfor -%}"
    "{%- set messages = as_text.messages -%}"
)


def take_images(tokenizer: Any, placeholder: str) -> None:
    """Let the chat template of `tokenizer` (transformers') write `placeholder` for an image.

    One that does so already, and a tokenizer without one, stay as they are.
    """
    template = tokenizer.chat_template
    if isinstance(template, str) and not _writes(tokenizer, placeholder):
        tokenizer.chat_template = _AS_TEXT.replace("PLACEHOLDER", placeholder) + template


def _writes(tokenizer: Any, placeholder: str) -> bool:
    """Whether an image and a text are rendered, each once."""
    parts = [{"type": "image"}, {"type": "text", "text": "a text"}]
    try:
        text: str = tokenizer.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
    except Exception:  # a template may raise anything over what it does not know
        return False
    return text.count(placeholder) == 1 and text.count("a text") == 1
