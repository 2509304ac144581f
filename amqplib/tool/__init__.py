"""`python -m amqplib`, or `amqplib` where it is installed: messages from the command line."""
