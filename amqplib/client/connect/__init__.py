"""From what a program says of a broker to an open virtual host: URLs, addresses, logins, secrets, hints."""
