"""What every room stands on: files, caches, engines, commands.

Read files, cache, progress, command, guards, engine, interpreter, measuring, untrusted.
"""
