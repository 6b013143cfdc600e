"""Images over HTTP: the OpenAI API's parts, what is refused, and a server that goes on serving."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from image_files import BAD_IMAGES, chat, data_url, flat_png, picture, url_part
from modcore import SamplingParams
from modcore.vision import VisionModel
from servers import ServerProcess, samples_of, scrape, send, serving

CHAT = "/v1/chat/completions"
GOOD = data_url(picture(70, 40))


@pytest.fixture(scope="module")
def server(vision_checkpoint: Path) -> Iterator[ServerProcess]:
    with serving(str(vision_checkpoint), "--dtype", "float32") as running:
        yield running
        assert running.process.poll() is None, "a test ended the server"


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> openai.OpenAI:
    return server.client()


def ask(client: openai.OpenAI, messages: Any, **options: Any) -> Any:
    return client.chat.completions.create(
        model="tiny-internvl", messages=messages, max_tokens=6, temperature=0, **options
    )


def refused(server: ServerProcess, messages: Any, **fields: Any) -> dict[str, Any]:
    body = json.dumps({"messages": messages, "max_tokens": 2, **fields}).encode()
    status, _, text = scrape(server.url, CHAT, body)
    error: dict[str, Any] = {"status": status, **json.loads(text).get("error", {})}
    return error


def peak_bytes(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024


def reset_peak(server: ServerProcess) -> None:
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_answer_is_the_engine_s(client: Any, model: VisionModel, format: str) -> None:
    url = data_url(picture(70, 40, format), f"image/{format.lower()}")
    messages = chat("look:", url_part(url, detail="high"), "what is it?")
    answer = ask(client, messages)
    params = SamplingParams(max_tokens=6, temperature=0.0)
    expected = model.engine.generate([messages], params)[0]
    assert answer.choices[0].message.content == expected.text
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens


def test_streams_choices_and_turns(client: openai.OpenAI) -> None:
    messages = [
        *chat(url_part(GOOD), "what is it?"),
        {"role": "assistant", "content": "a thing"},
        *chat(
            url_part(data_url(picture(28, 28, seed=3))), url_part(GOOD, detail="low"), "and these?"
        ),
    ]
    whole = ask(client, messages)
    pieces = ask(client, messages, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(ask(client, messages, n=2).choices) == 2


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_400_with_counts(server: ServerProcess, name: str) -> None:
    url, words = BAD_IMAGES[name]
    error = refused(server, chat(url_part(GOOD), url_part(url), "?"))
    assert error["status"] == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == "messages"
    assert error["message"].startswith("Image 2 of 2 ")
    assert words in error["message"]
    assert refused(server, chat(url_part(GOOD), "?"))["status"] == 200


def test_three_hundred_images_are_refused_with_the_count(server: ServerProcess) -> None:
    part = url_part(data_url(picture(2, 2)))
    error = refused(server, chat(*[part] * 300))
    assert error["status"] == 400
    assert "has 300 parts; 256 are the most" in error["message"]
    error = refused(server, [*chat(*[part] * 150), *chat(*[part] * 150)])
    assert error["status"] == 400
    assert "hold 300 images, and a request has 256 tiles" in error["message"]


def test_more_tokens_than_the_context_are_refused(server: ServerProcess) -> None:
    part = url_part(data_url(picture(280, 28)))
    error = refused(server, chat(*[part] * 20))
    assert error["status"] == 400
    assert "880 of them for 20 images, too many for 512" in error["message"]


def test_enormous_images_take_no_memory(server: ServerProcess) -> None:
    refused(server, chat(url_part(GOOD), "?"))  # so that everything is loaded
    bomb = url_part(data_url(flat_png(12000, 12000)))
    reset_peak(server)
    before = peak_bytes(server)
    for _ in range(5):
        error = refused(server, chat(*[bomb] * 50))
        assert error["status"] == 400
        assert "Image 1 of 50 is 12000 x 12000 = 144000000 pixels" in error["message"]
    assert peak_bytes(server) - before < 40_000_000


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image", "image": "/etc/passwd"}, "has a part of the type 'image'"),
        ({"type": "image_url", "image_url": "data:,"}, "messages[0].content[0].image_url:"),
        ({"type": "image_url", "image_url": {"url": 3}}, "messages[0].content[0].image_url.url:"),
        ({"type": "image_url", "image_url": {"url": GOOD, "detail": "huge"}}, "'low' or 'high'"),
        ({"type": "image_url"}, "messages[0].content[0].image_url: Field required"),
        ({"type": "text"}, "messages[0].content[0].text: Field required"),
        ({"type": "input_audio"}, "text and image_url are read"),
        ({"type": "video_url", "video_url": {"url": GOOD}}, "text and image_url are read"),
    ],
)  # fmt: skip
def test_parts_of_other_shapes_are_400(server: ServerProcess, part: Any, words: str) -> None:
    error = refused(server, chat(part))
    assert error["status"] == 400
    assert words in error["message"]
    assert error["param"] == "messages"


def test_a_detail_that_is_left_open_is_the_usual_one(server: ServerProcess) -> None:
    answers = [refused(server, chat(url_part(GOOD, **detail))) for detail in ({}, {"detail": None})]
    assert [answer["status"] for answer in answers] == [200, 200]


def test_an_image_to_a_text_model_is_400(text_checkpoint: Path) -> None:
    with serving(str(text_checkpoint)) as server:
        error = refused(server, chat("?", url_part(GOOD)))
        assert error["status"] == 400
        assert error["param"] == "messages"
        assert "has a part of the type 'image_url'; this model takes text only" in error["message"]
        assert refused(server, chat("?"))["status"] == 200


def test_limits_of_the_operator_hold(vision_checkpoint: Path) -> None:
    words = ["--max-tiles", "5", "--max-request-tiles", "6", "--max-image-pixels", "50000"]
    with serving(str(vision_checkpoint), *words, "--max-image-bytes", "40000") as server:
        wide = url_part(data_url(picture(280, 28)))
        assert "becomes 11 tiles, and 5" in refused(server, chat(wide))["message"]
        assert (
            refused(server, chat(url_part(data_url(picture(280, 28)), detail="low")))["status"]
            == 200
        )
        four = url_part(data_url(picture(84, 28)))
        assert "2 images become 8 tiles, and 6" in refused(server, chat(four, four))["message"]
        large = refused(server, chat(url_part(data_url(flat_png(300, 300)))))
        assert "300 x 300 = 90000 pixels, and 50000" in large["message"]
        heavy = refused(server, chat(url_part(data_url(picture(130, 130)))))
        assert "bytes, and 40000 are the most" in heavy["message"]


def test_bodies_may_hold_an_image_of_the_largest_size_and_are_bounded(
    server: ServerProcess,
) -> None:
    noise = b"\x89PNG\r\n\x1a\n" + bytes(18_000_000)
    error = refused(server, chat(url_part(data_url(noise))))
    assert error["status"] == 400
    error = refused(server, chat(url_part("data:image/png;base64," + "A" * 36_000_000)))
    assert error["status"] == 413


def test_metrics_count_images(server: ServerProcess, client: openai.OpenAI) -> None:
    messages = chat(url_part(data_url(picture(33, 77, seed=9))), "?")
    before = samples_of(server)
    ask(client, messages)
    between = samples_of(server)
    ask(client, messages)
    after = samples_of(server)

    def grown(name: str, left: Any, right: Any) -> float:
        return float(right[name, ""] - left[name, ""])

    assert grown("images_total", before, between) == 1
    assert grown("image_tiles_total", before, between) > 1
    assert grown("vision_seconds_total", before, between) > 0
    assert grown("image_cache_hits_total", between, after) == 1
    assert grown("image_tiles_total", between, after) == 0
    assert after["num_images_waiting", ""] == 0
    assert after["image_cache_bytes", ""] > 0


def test_callers_who_hang_up_leave_nothing_behind(server: ServerProcess) -> None:
    def body(seed: int) -> dict[str, Any]:
        url = data_url(picture(140, 140, seed=1000 + seed))
        return {"messages": chat(url_part(url), "?"), "max_tokens": 400, "stream": bool(seed % 2)}

    connections: list[socket.socket] = [send(server, CHAT, body(seed)) for seed in range(60)]
    for connection in connections:
        connection.close()
    names = ("num_images_waiting", "num_requests_running", "num_requests_waiting")
    for _ in range(600):
        samples = samples_of(server)
        if not any(samples[name, ""] for name in names):
            break
    assert not any(samples[name, ""] for name in names)
    assert refused(server, chat(url_part(GOOD), "?"))["status"] == 200
    assert not any("Traceback" in line for line in server.errors)
