"""What commands do that are no climb: grade, check, distil, pretrain, ladders, mixtures."""
