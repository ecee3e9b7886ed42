"""A WebSocket server that gives back what it gets, and a client that checks it.

websocket_echo.py serve          prints its port, and serves until it is killed
websocket_echo.py check URL      exits with 0 when texts, large messages, pings and the close code came back
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4000, "as asked")
        else:
            await socket.send(message)


async def run_server():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


async def check(url):
    async with connect(url, max_size=None, proxy=None) as socket:
        large = os.urandom(3 << 20)
        for message in ["hello", "", "ü" * 1000, b"\0\1", large]:
            await socket.send(message)
            assert await socket.recv() == message, "another message came back"
        await (await socket.ping())
        await socket.send("close")
        try:
            await socket.recv()
        except Exception:
            pass
        assert socket.close_code == 4000, socket.close_code
    print("echoed")


if sys.argv[1] == "serve":
    asyncio.run(run_server())
else:
    asyncio.run(asyncio.wait_for(check(sys.argv[2]), 30))
