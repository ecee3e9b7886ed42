"""Reads a file or address to its end with FFmpeg's demuxers, and prints one JSON object.

    demux.py URL [--seconds S]

`streams`: type, codec, time base, width, height, sample rate, sha256 of the decoder configuration.
`packets`: stream, pts and dts in milliseconds, key, size, sha256 of the payload. With --seconds, reading stops there.
"""

import argparse
import hashlib
import json
import sys
import time

import av


def milliseconds(value, base):
    return None if value is None else round(value * base * 1000)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()

    until = None if args.seconds is None else time.monotonic() + args.seconds
    packets = []
    with av.open(args.url, timeout=30) as container:
        for packet in container.demux():
            if packet.size == 0:  # what ends each stream
                continue
            packets.append(
                {
                    "stream": packet.stream.type,
                    "pts": milliseconds(packet.pts, packet.time_base),
                    "dts": milliseconds(packet.dts, packet.time_base),
                    "key": packet.is_keyframe,
                    "size": packet.size,
                    "sha256": hashlib.sha256(bytes(packet)).hexdigest(),
                }
            )
            if until is not None and time.monotonic() > until:
                break
        streams = []
        for stream in container.streams:
            context = stream.codec_context
            found = {
                "type": stream.type,
                "codec": context.name if context else None,
                "extradata": hashlib.sha256(context.extradata).hexdigest() if context and context.extradata else None,
            }
            if stream.type == "video":
                found.update(width=context.width, height=context.height)
            elif stream.type == "audio":
                found.update(rate=context.sample_rate)
            streams.append(found)
    json.dump({"streams": streams, "packets": packets}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
