"""Chat templates of the remote-code layout, which names them in ``config.json`` (``template``).

Source: the conversation templates that InternVL 2 and 2.5 were published with (arXiv 2404.16821,
2412.05271). All are ChatML with a system message; they differ in what ends a turn.
"""

from __future__ import annotations

import json

_SYSTEM_2 = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "  # noqa: RUF001
    "是一个有用无害的人工智能助手。"
)
_SYSTEM_2_5 = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、"  # noqa: RUF001
    "清华大学及多家合作单位联合开发的多模态大语言模型。"
)


def _chatml(system: str, end: str) -> str:
    """ChatML in Jinja: `system` unless the messages bring one, `end` behind each turn."""
    said, stop = json.dumps(system, ensure_ascii=False), json.dumps(end)
    return (
        "{%- macro write(content) -%}{%- if content is string -%}{{ content }}{%- else -%}"
        "{%- for part in content -%}{%- if part['type'] == 'image' -%}{{ '<IMG_CONTEXT>\n' }}"
        "{%- else -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
        "{%- if not messages or messages[0]['role'] != 'system' -%}"
        f"{{{{ '<|im_start|>system\n' + {said} + {stop} }}}}{{%- endif -%}}"
        "{%- for message in messages -%}"
        f"{{{{ '<|im_start|>' + message['role'] + '\n' + write(message['content']) + {stop} }}}}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
    )


TEMPLATES = {
    "Hermes-2": _chatml(_SYSTEM_2, "<|im_end|>"),
    "internlm2-chat": _chatml(_SYSTEM_2, "<|im_end|>"),
    "internvl2_5": _chatml(_SYSTEM_2_5, "<|im_end|>\n"),
}
