"""GPTQ as published (arXiv 2210.17323) in eager PyTorch, for a LLaMA of transformers: the linears that share an input
in turn, each place's inputs by what has been quantized before it. Weights become what the codes stand for."""

PLACES = [["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"],
          ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]
DAMPING = 0.01  # of the mean of the Hessian's diagonal
BLOCK = 128     # columns whose errors are passed on together


def call_layer(layer, hidden, rotary):
    output = layer(hidden, attention_mask=None, position_embeddings=rotary)
    return output[0] if isinstance(output, tuple) else output


def quantize(model, ids, rows_at_a_time, bits, group_size):
    """In place. model: the decoder without its head; ids: [rows, tokens]"""
    import torch

    with torch.no_grad():
        hidden = model.embed_tokens(ids)
        rotary = model.rotary_emb(hidden, torch.arange(ids.shape[1], device=ids.device).unsqueeze(0))

        def through(layer):
            return torch.cat([call_layer(layer, part, rotary) for part in hidden.split(rows_at_a_time)])

        for layer in model.layers:
            for place in PLACES:
                linears = [layer.get_submodule(name) for name in place]
                hessian = Hessian(linears[0])
                through(layer)
                factor = hessian.inverse_factor()
                for linear in linears:
                    linear.weight.copy_(rounded(linear.weight.float(), factor, bits, group_size))
            hidden = through(layer)


class Hessian:
    """Σ x xᵀ of a linear's inputs, gathered while a layer runs."""

    def __init__(self, linear):
        import torch

        columns = linear.in_features
        self.sum = linear.weight.new_zeros(columns, columns, dtype=torch.float32)
        self.hook = linear.register_forward_pre_hook(self.add)

    def add(self, _, inputs):
        rows = inputs[0].flatten(0, -2).float()
        self.sum.addmm_(rows.T, rows)

    def inverse_factor(self):
        """The upper Cholesky factor of the damped inverse."""
        import torch

        self.hook.remove()
        diagonal = self.sum.diagonal()
        diagonal[diagonal == 0] = 1
        diagonal += DAMPING * diagonal.mean()
        return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(self.sum)), upper=True)


def grid(weights, levels):
    """Scale and zero-point [rows, 1] of a group of columns, from its smallest to its largest weight."""
    low, high = weights.amin(1, keepdim=True).clamp(max=0), weights.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / levels).clamp(min=1e-10)
    return scale, (-low / scale).round()


def rounded(weight, factor, bits, group_size):
    """weight: f32 [rows, columns], which is changed"""
    import torch

    levels, columns = 2**bits - 1, weight.shape[1]
    group_size = group_size or columns
    result = torch.empty_like(weight)
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        errors = torch.empty_like(weight[:, begin:end])
        for column in range(begin, end):
            if column % group_size == 0:
                scale, zero = grid(weight[:, column : column + group_size], levels)
            now = weight[:, column : column + 1]
            code = ((now / scale).round() + zero).clamp(0, levels)
            result[:, column : column + 1] = (code - zero) * scale
            error = (now - result[:, column : column + 1]) / factor[column, column]
            weight[:, column:end] -= error * factor[column, column:end]
            errors[:, column - begin : column - begin + 1] = error
        weight[:, end:] -= errors @ factor[begin:end, end:]
    return result
