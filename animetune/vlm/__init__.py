"""Asking vision-language models, behind servers that speak the protocol of OpenAI or in local folders.

request --log of answers--> kept reply, or --server--> reply --> log
"""
