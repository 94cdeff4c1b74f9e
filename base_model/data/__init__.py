"""From files a person has to token ids a model reads.

munro data build FILE               munro.machine.verbs.data: every stage, resumable
ShardFolder(folder)                 munro.base_model.data.shards.files: documents of a built source
open_mixture(config, tokenizer)     munro.base_model.data.shards.opening: sources by weight
Mixture(shares, seed=0)             munro.base_model.data.shards.mixture: from sources at hand
"""
