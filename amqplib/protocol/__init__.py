"""What may happen when, on a connection and its channels: AMQP's rules without any I/O.

    states      the states of a connection and of a channel, and the table of what each event does in each
    endings     why something is over, as a value
    port        one channel number: its state, what has arrived for it, the call that waits, the gate of its publishes
    gates       why a publish is not simply sent: closed, blocked, batch; the books of confirms are one, too
    confirms    the books of publisher confirms
    session     all ports of one network connection, and what is owed to the peer
    handshake   from the protocol header to the open virtual host, as one conversation

No sockets, no clock, no threads, no logging, and nothing of `client`, which a test proves. What changes anything here
is called with the driver's lock held (client/driver.py), so nothing here locks anything, and nothing here may wait.
"""
