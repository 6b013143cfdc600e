"""The helper process of `trial`: it forks a process for each grammar, which compiles it and is ended at its limits.

It runs as a script, ``python -S -P trial_process.py PACKAGES PARENT CPU_SECONDS MEMORY``. PACKAGES is the directory in
which llguidance lies; of modcore it imports nothing, so it is small, and it has one thread, so that it may fork. Its standard input is a Unix socket over
which `trial` hands it another socket for each grammar. There the new process says `BEGUN`, reads the grammar, and
answers with the reason why it cannot be followed, or with nothing: a length of four bytes, then UTF-8. A
connection that ends earlier means that a limit has ended the process. With ``alone`` in the place of PARENT it
compiles one grammar from its standard input instead, where there is no fork.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

MAX_STATES = 20_000  # of the lexer; some 2 kB each
WALL_SECONDS = 2.0
BEGUN = b"+"
_BYTES_AHEAD = 8
_LOOK_UP = 5.0  # seconds between two looks whether the parent is still there
_NOTHING_FIRST = (
    "no answer can begin: it refers to itself without an end, or its parts exclude each other"
)


def parser_limits() -> LLParserLimits:
    """The limits within which grammars are compiled, here and in the engine."""
    from llguidance import LLParserLimits

    return LLParserLimits(max_lexer_states=MAX_STATES, verbose_errors=False)


def problem_of(matcher: LLMatcher, usable: int = -1) -> str:
    """Why `matcher` cannot be followed from its beginning, in llguidance's words; empty when it can.

    `usable` has a bit for each token that the model can choose. Computes the first mask.
    """
    bits = 0 if matcher.is_error() else int.from_bytes(matcher.compute_bitmask(), "little")
    reason = matcher.get_error() if matcher.is_error() else ""
    if reason.startswith("NoExtension") or not (reason or bits & usable):
        return _NOTHING_FIRST
    return reason


def send_frame(connection: socket.socket, text: str) -> None:
    """Write `text` behind its length."""
    data = text.encode()
    connection.sendall(len(data).to_bytes(4, "big") + data)


def receive_frame(connection: socket.socket) -> str:
    """The next text; raises EOFError when the other side has ended before it was whole."""
    return _receive(connection, int.from_bytes(_receive(connection, 4), "big")).decode()


def _receive(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = connection.recv(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _serve(tokenizer: LLTokenizer, parent: int, cpu_seconds: float, memory: int) -> None:
    """Fork for each socket that arrives, until the parent closes its end or is gone.

    Being told by the kernel (PR_SET_PDEATHSIG) would end it with the thread that started it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    control = socket.socket(fileno=0)
    control.settimeout(_LOOK_UP)
    while os.getppid() == parent:  # a fork of the parent's may hold the other end for longer
        with contextlib.suppress(TimeoutError):
            _, sockets, _, _ = socket.recv_fds(control, 1, 1)
            if not sockets:
                return
            if os.fork() == 0:
                control.close()
                _answer(socket.socket(fileno=sockets[0]), tokenizer, cpu_seconds, memory)
            os.close(sockets[0])


def _answer(
    connection: socket.socket, tokenizer: LLTokenizer, cpu_seconds: float, memory: int
) -> NoReturn:
    """What a fork does, and nothing after it."""
    try:
        _limit(cpu_seconds, memory)
        connection.sendall(BEGUN)
        send_frame(connection, _problem(tokenizer, receive_frame(connection)))
    finally:
        os._exit(0)


def _limit(cpu_seconds: float, memory: int) -> None:
    """End this process at the first limit that it meets. Processor time does not depend on what else runs."""
    import resource

    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPROF, signal.SIGALRM))
    signal.setitimer(signal.ITIMER_REAL, 2 * WALL_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    for what, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a stricter limit holds already
            resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def _problem(tokenizer: LLTokenizer, grammar: str) -> str:
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=parser_limits())
    return problem_of(matcher) or _problem_ahead(matcher)


def _problem_ahead(matcher: LLMatcher) -> str:
    """The limit of llguidance that is met within a few bytes. A dead end is none: there may be other ways."""
    for step in range(_BYTES_AHEAD):
        bits = int.from_bytes(matcher.compute_bitmask(), "little")
        if matcher.is_error() or matcher.is_stopped():
            break
        lowest, highest = (bits & -bits).bit_length() - 1, bits.bit_length() - 1
        matcher.consume_token(highest if step % 2 else lowest)
    reason = matcher.get_error() if matcher.is_error() else ""
    return "" if reason.startswith("NoExtension") else reason


def _compile_one(tokenizer: LLTokenizer) -> None:
    """Standard input's grammar, within WALL_SECONDS: the parent may be gone by then."""
    watch = threading.Timer(WALL_SECONDS, os._exit, (1,))
    watch.daemon = True
    watch.start()
    problem = _problem(tokenizer, sys.stdin.buffer.read().decode())
    sys.stdout.buffer.write(problem.encode())


def _main(packages: str, parent: str, *limits: str) -> None:
    sys.path.append(packages)
    from llguidance import LLTokenizer

    tokenizer = LLTokenizer("byte")
    if parent == "alone":
        _compile_one(tokenizer)
    else:
        cpu_seconds, memory = limits
        _serve(tokenizer, int(parent), float(cpu_seconds), int(memory))


if __name__ == "__main__":
    _main(*sys.argv[1:])
