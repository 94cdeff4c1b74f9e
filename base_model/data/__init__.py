"""From files a person has to token ids a model reads.

munro data build FILE               munro.machine.data_cmd: every stage, resumable
ShardFolder(folder)                 munro.base_model.data.shards: documents of a built source
open_mixture(config, tokenizer)     munro.base_model.data.opening: sources by weight, with epoch
caps
Mixture(shares, seed=0)             munro.base_model.data.mixture: the same from sources at hand
"""
