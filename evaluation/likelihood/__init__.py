"""How probable a text is to a model: nats a token, bits a byte, with the context that was given.

Texts are cut at the same characters whatever the tokenizer, and every byte of them is predicted, so
bits a byte are of the same bytes for every model.
"""
