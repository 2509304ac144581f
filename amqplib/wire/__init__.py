"""AMQP 0-8 and 0-9-1 without I/O.

    spec       the method table; a dialect is a value
    codecs     its rows compiled into encoders and decoders; field types
    tables     field tables and their value types
    frames     bytes of frames
    content    properties; assembly of header and body frames
    hot        the same for what comes most, faster
    protocol   bytes in -> methods out, methods in -> bytes out
    server     the server's end of that
    errors     LocalError (ours), PeerError (theirs)

Nothing in this package may import socket, ssl, select, threading or time, nor anything from the rest of
amqplib. It is as usable for a broker as for a client.
"""
