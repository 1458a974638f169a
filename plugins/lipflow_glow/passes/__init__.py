"""A folded flow's passes: its map forward and the gradient backward, at fixed contexts.

How to read this room:

- `walk` goes through the steps. It is ordinary torch, works on any device in any type, and knows nothing of kernels.
- `products` multiplies by the constant matrices. It alone decides how: by `torch.mm` in float32, by `torch.mm` in
  bfloat16, or by the compiled kernels.
- `sparse` holds the two compiled kernels. They serve batches of a few codes, for which reading the weights takes longer
  than multiplying: about half of the units behind a ReLU are zero, and the kernels do not read the weights of those.

Codes and hidden units are columns, (features, B), so that halves of a code are contiguous and `torch.mm(W, columns)`
takes the fastest route through BLAS libraries for small batches.
"""
