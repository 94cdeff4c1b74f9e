"""Checkpoints of several ranks: each writes its pieces, behind the training's back.

    step-000500/
      state/                    weights and moments in float32, by torch.distributed.checkpoint
      config.json, tokenizer.*  as in any checkpoint
      provenance.json           likewise: what the driver must remember is in it
      commit.json               written last, by rank 0: without it the checkpoint does not exist
      model*.safetensors        made of `state` afterwards, by `export`, as transformers names it

No rank ever holds more than its share, and the mesh that loads may be another than the one that
saved. With the last line it is a model like any other.

    state      what is in the pieces; from a model and its optimizer, and back
    saver      writes them: one at a time, while training goes on
    export     makes the model of them
"""
