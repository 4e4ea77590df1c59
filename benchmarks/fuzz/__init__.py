"""A structure-aware fuzzer for every reader: no traceback, no hang, no control character, one message."""
