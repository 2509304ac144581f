"""The blocking client, on top of amqplib.wire.

    connection        connecting, logging in, opening; channel 0
    channel           AMQP's methods as Python methods
    abstract_channel  what both share: arriving methods, calls and replies
    link              who reads, who writes, who waits
    transport         bytes from and to a socket
    message           messages
    address, login, deadline, exceptions

Programs import amqplib.client_0_8, which gives these classes the names and defaults they rely on.
"""
