"""How long a server takes to refuse what is absurd, from the last byte sent to the last one of its answer.

    python benchmarks/refusals_bench.py [--url http://127.0.0.1:8000] [--repeat 20]

Without a URL it serves a small random checkpoint itself. The last row is an honest request of one token, to
compare with. A request over the cap of a body is answered before it is sent whole: its time is from the first byte.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

GOAL_MS = 50.0
MIB = 1 << 20


class Row(NamedTuple):
    """What is sent, and the status that it should get."""

    name: str
    body: bytes
    status: int = 400


def body(**fields: Any) -> bytes:
    return json.dumps({"prompt": "a", **fields}, separators=(",", ":")).encode()


def biases(count: int) -> bytes:
    """`count` entries of eight bytes each, some keys twice: a million different ones are over the cap."""
    signs = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\')
    keys = [a + b + c for a in signs for b in signs for c in signs]
    entries = ",".join(f'"{keys[place % len(keys)]}":1' for place in range(count))
    return b'{"prompt":"a","logit_bias":{' + entries.encode() + b"}}"


#: Schemas that nothing can follow, and schemas that would take seconds, hours or gigabytes to compile.
SCHEMAS: dict[str, dict[str, Any]] = {
    "a schema that refers to itself": {"$ref": "#"},
    "... of no value at all": {"enum": []},
    "... of a string that is a number": {"allOf": [{"type": "string"}, {"type": "number"}]},
    "... of a whole number from 3 to 1": {"type": "integer", "minimum": 3, "maximum": 1},
    "... of no character": {"type": "string", "pattern": "[^\\x00-\\U0010FFFF]"},
    "... with a multipleOf of 1,000,003": {"type": "integer", "multipleOf": 1_000_003},
    "... with two, 997 and 991": {
        "type": "integer",
        "allOf": [{"multipleOf": 997}, {"multipleOf": 991}],
    },
    "... with 20 patterns in an allOf": {
        "type": "string",
        "allOf": [{"pattern": f".*{chr(97 + i)}.*{i}"} for i in range(20)],
    },
    "... with 500 patternProperties": {
        "type": "object",
        "patternProperties": {f"^k{i}[a-z]*$": {} for i in range(500)},
    },
    "... with a pattern of 60,000": {"type": "string", "pattern": "^" + "a?" * 30_000 + "$"},
    "... with 400 branches of 400 properties": {
        "type": "object",
        "properties": {f"p{i}": {} for i in range(400)},
        "anyOf": [{} for _ in range(400)],
    },
    "... with definitions that double": {
        "$ref": "#/$defs/d0",
        "$defs": {
            f"d{i}": {
                "properties": {
                    name: {
                        "allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"properties": {f"{name}{i}": {}}}]
                    }
                    for name in "ab"
                }
            }
            for i in range(60)
        }
        | {"d60": {"type": "object"}},
    },
}
EXPRESSIONS = {
    "an expression that counts to 900³": "((a{900}){900}){900}",
    "... of 2,000 .*": ".*" * 2000 + "a",
    "... of 2,000 a?": "a?" * 2000 + "b",
    "... of no character": "[^\\x00-\\x{10FFFF}]",
}


def rows() -> list[Row]:
    described = {"name": "x", "schema": {"type": "nonsense"}}
    return [
        Row("a schema that does not compile", body(json_schema={"type": "nonsense"})),
        Row(
            "... as response_format",
            body(response_format={"type": "json_schema", "json_schema": described}),
        ),
        Row("an expression that does not compile", body(regex="(a")),
        *(Row(name, body(json_schema=schema)) for name, schema in SCHEMAS.items()),
        *(Row(name, body(regex=regex)) for name, regex in EXPRESSIONS.items()),
        Row("100,000 stop strings", body(stop=["stop"] * 10**5)),
        Row("n = 10^9", body(n=10**9)),
        Row("max_tokens = 10^12", body(max_tokens=10**12)),
        Row("a logit bias of 10^6 entries", biases(10**6)),
        Row("lists 100,000 deep", b'{"prompt":' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
        Row("700,000 fields", b"{" + b",".join(b'"%d":1' % i for i in range(700_000)) + b"}"),
        Row("2,000,000 messages", b'{"messages":[' + b"{}," * 2_000_000 + b"{}]}"),
        Row("a body of 9 MiB", body(user="x" * (9 * MIB)), 413),
        Row("one token", body(max_tokens=1), 200),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="a server with the OpenAI API (default: one of its own)")
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="times each (20)")
    args = parser.parse_args()
    with contextlib.nullcontext(args.url) if args.url else serving() as url:
        show(measure(url, args.repeat))


def measure(url: str, repeat: int) -> list[tuple[Row, list[float], set[int]]]:
    """Each row's times in milliseconds and statuses; the rows take turns."""
    found: list[tuple[Row, list[float], set[int]]] = [(row, [], set()) for row in rows()]
    for turn in range(repeat + 1):
        for row, times, statuses in found:
            taken, status = refuse(url, row)
            if turn:  # the first one warms up
                times.append(taken)
                statuses.add(status)
    return found


def refuse(url: str, row: Row) -> tuple[float, int]:
    """Milliseconds until the answer has come, and its status."""
    address = urlsplit(url)
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: {address.netloc}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(row.body)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.perf_counter()
        connection.sendall(head.encode() + row.body)
        if row.status != 413:
            start = time.perf_counter()
        status = read_answer(connection)
        return (time.perf_counter() - start) * 1e3, status


def read_answer(connection: socket.socket) -> int:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, rest = received.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    missing = int(length.split()[0]) - len(rest)
    while missing > 0:
        missing -= len(connection.recv(65_536))
    return int(head.split()[1])


def show(found: list[tuple[Row, list[float], set[int]]]) -> None:
    print(
        f"\n{'':<38}{'bytes':>10} {'status':>7} {'median':>9} {'worst':>9} {'goal':>8} {'met':>4}"
    )
    for row, times, statuses in found:
        median = statistics.median(times)
        met = median < GOAL_MS and statuses == {row.status}
        goal = ("" if row.status == 200 else f"< {GOAL_MS:g} ms", "yes" if met else "NO")
        print(
            f"{row.name:<38}{len(row.body):>10,} {'/'.join(map(str, sorted(statuses))):>7} "
            f"{median:>6.1f} ms {max(times):>6.1f} ms {goal[0]:>8} {goal[1] if goal[0] else '':>4}"
        )
    print("\nFrom the last byte sent to the last byte of the answer; 413 from the first byte sent.")


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The URL of a server of a small random Llama."""
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = Path(directory) / "model"
        write_checkpoint(checkpoint)
        words = ["serve", str(checkpoint), "--port", "0", "--kv-tokens", "4096"]
        server = subprocess.Popen(
            [sys.executable, "-m", "modcore", *words], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout
        try:
            yield next(
                line.split()[1].strip() for line in server.stdout if line.startswith("url: ")
            )
        finally:
            server.terminate()
            server.wait()


def write_checkpoint(directory: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a random model knows no words"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    LlamaForCausalLM(config).save_pretrained(directory)


if __name__ == "__main__":
    main()
