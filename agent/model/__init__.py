"""The words of the house: frozen values that the kernel, the API server and the probes say, and what we conclude from them.

Standard library only. Nothing here reads, judges or formats for people.
"""
