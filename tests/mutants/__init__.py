"""Small mistakes are made in the library, one at a time, and the tests are to notice: see `__main__`."""
