"""Takes TCP on a port of its own and passes it on by TLS, without looking at the certificate: for clients that speak no TLS.

tls_tunnel.py HOST PORT FROM READY: FROM is the address to connect from; the port is written into the file READY.
"""

import asyncio
import os
import ssl
import sys

HOST, PORT, FROM, READY = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


async def copy(reader, writer):
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except (OSError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    try:
        there = await asyncio.open_connection(HOST, PORT, ssl=ANY, local_addr=(FROM, 0))
    except (OSError, ssl.SSLError):
        writer.close()
        return
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with open(READY + ".new", "w") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    os.rename(READY + ".new", READY)
    await server.serve_forever()


asyncio.run(main())
