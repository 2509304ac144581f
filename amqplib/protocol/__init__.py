"""What may happen when, on a connection and its channels: AMQP's rules without any I/O.

    states      the states of a connection and of a channel, and the table of what each event does in each
    endings     why something is over, as a value
    port        one channel number: its state, what has arrived for it, the call that waits, the gate of its publishes
    unasked     the room in an inbox for what nobody waits for
    gates       why a publish is not simply sent: shut, blocked, batch; the books of confirms are one, too
    confirms    the books of publisher confirms; timing: books that note how long the peer takes
    acks        acknowledgements that are held back for a moment
    session     all ports of one network connection, and what is owed to the peer
    handshake   from the protocol header to the open virtual host, as one conversation
    topology    what the program has declared, to be declared again
    carried     books of confirms and tags of deliveries that go on from one session to the next

No sockets, no clock, no threads, no logging, and nothing of `client`, which a test proves. What changes anything here
is called with the driver's lock held (client/driver.py; the few exceptions are in docs/design.txt, Locks), so nothing
here locks anything, and nothing here may wait.
"""
