"""Frames: type, channel, size, payload, end octet (0-9-1, section 2.3.5).

Writing only; frames are read in `protocol`, which walks a whole receive buffer at once.
"""

from __future__ import annotations

import struct
from typing import List, Union

__all__ = [
    "BODY",
    "END",
    "END_AND_HEADER",
    "END_AND_PREFIX",
    "END_OCTET",
    "HEADER",
    "HEADER_SIZE",
    "HEARTBEAT",
    "METHOD",
    "METHOD_FRAME",
    "MIN_SIZE",
    "OVERHEAD",
    "TYPES",
    "encode_body",
    "encode_frame",
]

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
TYPES = {METHOD: "method", HEADER: "content header", BODY: "body", HEARTBEAT: "heartbeat"}

END = 0xCE
END_OCTET = b"\xce"

#: The smallest frame_max that there may be, in octets (0-9-1, frame-min-size).
MIN_SIZE = 4096

#: Octets of a frame that are not payload. frame_max counts them: what is sent has a payload of frame_max - OVERHEAD.
OVERHEAD = 8

PREFIX = struct.Struct(">BHL")  # type, channel, payload size

# What is packed and unpacked at one stroke where frames meet: a method frame up to its arguments (prefix, class and
# method id); an end octet and the prefix of the frame behind it; those and a content header's payload up to its
# properties (class id, weight, body size).
METHOD_FRAME = struct.Struct(">BHLL")
END_AND_PREFIX = struct.Struct(">BBHL")
END_AND_HEADER = struct.Struct(">BBHLHHQ")

#: Octets of a content header's payload up to its properties.
HEADER_SIZE = 12


def encode_frame(frame_type: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return b"".join((PREFIX.pack(frame_type, channel, len(payload)), payload, END_OCTET))


def encode_body(channel: int, body: bytes, frame_max: int) -> List[Union[bytes, memoryview]]:
    """The body frames of one content, as pieces to be sent one behind the other; none for an empty body.

    No frame is longer than `frame_max` (0: no limit). The pieces of the body are views of it: nothing is copied.
    """
    room = frame_max - OVERHEAD if frame_max else len(body)
    pieces: List[Union[bytes, memoryview]] = []
    view = memoryview(body)
    for start in range(0, len(body), room or 1):
        piece = view[start : start + room]
        pieces += PREFIX.pack(BODY, channel, len(piece)), piece, END_OCTET
    return pieces
