"""Episodes to better eyes: records, datasets, teachers' labels, causal discovery.

Knows files, emulator memory and labels. Does not know networks, policies' text or language models.
"""
