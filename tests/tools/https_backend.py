"""A back end over HTTPS that says yes to all: https_backend.py CERT KEY FILE-FOR-THE-PORT"""

import http.server
import ssl
import sys


class Yes(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"0")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Yes)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(sys.argv[3], "w") as file:
    file.write(f"{server.server_address[1]}\n")
server.serve_forever()
