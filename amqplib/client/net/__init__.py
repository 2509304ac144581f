"""The network: octets to and from a peer, plain or over TLS. Nothing here knows of AMQP."""
