"""The client of one URL, against servers that are slow, gone, or no service at all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modcore.errors import ServiceError
from modcore.module.remote import Died, NotBegun, RemoteModule
from service_modules import TOKEN
from services import service

ANSWER = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"result":1}'
)


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket, int], None]) -> Iterator[str]:
    """A server that calls `answer` for each connection, with its number, and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                for number in range(1000):
                    connection, _ = listener.accept()
                    with connection:
                        answer(connection, number)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def saying(*answers: bytes) -> Callable[[socket.socket, int], None]:
    def answer(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        connection.sendall(answers[min(number, len(answers) - 1)])

    return answer


def test_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    closed = threading.Semaphore(0)

    def answer(connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        connection.sendall(ANSWER)
        connection.close()
        closed.release()

    with answering(answer) as url:
        remote = RemoteModule(url)
        for _ in range(5):
            assert remote.call((), {}) == 1
            assert closed.acquire(timeout=30)


def test_connection_that_ends_without_a_byte_is_not_asked_twice() -> None:
    asked = []

    def answer(connection: socket.socket, number: int) -> None:
        asked.append(connection.recv(65536))

    with answering(answer) as url, pytest.raises(Died) as caught:
        RemoteModule(url).call((), {})
    assert not caught.value.answered
    assert len(asked) == 1


def test_kept_connection_that_ends_without_a_byte_is_not_asked_twice_either() -> None:
    asked = []

    def answer(connection: socket.socket, number: int) -> None:
        while request := connection.recv(65536):
            asked.append(request)
            if len(asked) == 2:  # as a process does that is killed in the middle of a call
                return
            connection.sendall(ANSWER)

    with answering(answer) as url:
        remote = RemoteModule(url)
        assert remote.call((), {}) == 1
        with pytest.raises(Died) as caught:
            remote.call((), {})
        assert not caught.value.answered
        assert len(asked) == 2
        assert remote.call((), {}) == 1
        remote.close()


@pytest.mark.parametrize("part", [ANSWER[:30], ANSWER[:-3]], ids=["head", "body"])
def test_answer_that_ends_in_the_middle_is_told(part: bytes) -> None:
    with answering(saying(part)) as url, pytest.raises(Died) as caught:
        RemoteModule(url).call((), {})
    assert caught.value.answered


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        ANSWER.replace(b'"result"', b'"nosuch"'),
        ANSWER.replace(b'{"result":1}', b"hello, you!!"),
        ANSWER.replace(b"200", b"302"),
        ANSWER.replace(b"200", b"503"),
        ANSWER.replace(b"application/json", b"application/x-msgpack"),
        ANSWER.replace(b'{"result":1}', b'{"error": 3}'),
    ],
    ids=repr,
)
def test_what_is_no_service_is_a_service_error(answer: bytes) -> None:
    with answering(saying(answer)) as url:
        with pytest.raises(ServiceError, match=url):
            RemoteModule(url).call((), {})
        with pytest.raises(ServiceError, match=url):
            list(RemoteModule(url).stream((), {}))


def test_nobody_there_has_not_begun() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    remote = RemoteModule(f"http://127.0.0.1:{port}")
    with pytest.raises(NotBegun) as caught:
        remote.call((), {})
    assert caught.value.state == "refused"
    with pytest.raises(NotBegun):
        next(remote.stream((), {}))
    assert not remote.ready(0.5)


async def test_async_client_tells_the_same() -> None:
    last = ANSWER.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with answering(saying(last, b"", ANSWER[:-3])) as url:
        remote = RemoteModule(url)
        assert await remote.acall((), {}) == 1
        for answered in (False, True):
            with pytest.raises(Died) as caught:
                await remote.acall((), {})
            assert caught.value.answered is answered


def test_wrong_token_is_said_and_not_shown() -> None:
    with service("Same") as running:
        remote = RemoteModule(running.url, "another-token")
        with pytest.raises(ServiceError, match="token") as caught:
            remote.call((1,), {})
        assert "another-token" not in str(caught.value)
        assert remote.ready()


def test_threads_share_connections_and_a_copy_has_its_own() -> None:
    with service("Same") as running:
        remote = pickle.loads(pickle.dumps(running.remote))
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda i: remote.call((i,), {}), range(400))) == list(range(400))
        assert len(remote._connections._idle) <= 8


def test_fork_does_not_speak_on_its_parents_connections() -> None:
    with service("Same") as running:
        assert running(1) == 1
        child = os.fork()
        if not child:
            os._exit(0 if running(2) == 2 else 1)
        assert running(3) == 3
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("error")
def test_connections_end_with_their_event_loop() -> None:
    with service("Same") as running:

        async def calls() -> None:
            await asyncio.gather(*(running.remote.acall((each,), {}) for each in range(4)))

        open_before = descriptors()
        for _ in range(10):
            asyncio.run(calls())
        assert descriptors() == open_before


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncio's own, of a loop closed like that
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_connections_of_event_loops_that_are_closed_without_ado_do_not_gather() -> None:
    with service("Same") as running:
        open_before = descriptors()
        for _ in range(20):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(running.remote.acall((1,), {})) == 1
            loop.close()
        del loop
        gc.collect()
        assert descriptors() <= open_before + 1, open_before


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://user:secret@x", None])
def test_url_of_nothing_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as caught:
        RemoteModule(url, TOKEN)
    assert "secret" not in str(caught.value)


def descriptors() -> int:
    """How many are open in this process."""
    return len(list(Path("/proc/self/fd").iterdir()))
