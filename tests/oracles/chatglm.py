"""ChatGLM2, ChatGLM3 and GLM-4 as their own repositories compute them, in plain torch.

transformers has no class for them; their code comes with the checkpoints. This restates it, and makes transformers'
Auto classes open such a folder, as that code does.
"""
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class ChatGLMConfig(PretrainedConfig):
    model_type = "chatglm"
    attribute_map = {"num_hidden_layers": "num_layers"}  # for the code that all models share

    def __init__(self, num_layers=28, padded_vocab_size=65024, hidden_size=4096, ffn_hidden_size=13696,
                 kv_channels=128, num_attention_heads=32, seq_length=2048, layernorm_epsilon=1e-5,
                 apply_residual_connection_post_layernorm=False, post_layer_norm=True, add_bias_linear=False,
                 add_qkv_bias=False, multi_query_attention=False, multi_query_group_num=1, rope_ratio=1,
                 initializer_range=0.02, **others):
        self.num_layers = num_layers
        self.padded_vocab_size = self.vocab_size = padded_vocab_size
        self.hidden_size = hidden_size
        self.ffn_hidden_size = ffn_hidden_size
        self.kv_channels = kv_channels
        self.num_attention_heads = num_attention_heads
        self.seq_length = seq_length
        self.layernorm_epsilon = layernorm_epsilon
        self.apply_residual_connection_post_layernorm = apply_residual_connection_post_layernorm
        self.post_layer_norm = post_layer_norm
        self.add_bias_linear = add_bias_linear
        self.add_qkv_bias = add_qkv_bias
        self.multi_query_attention = multi_query_attention
        self.multi_query_group_num = multi_query_group_num
        self.rope_ratio = rope_ratio
        self.initializer_range = initializer_range
        super().__init__(**others | {"tie_word_embeddings": False})


class RMSNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.epsilon = config.layernorm_epsilon

    def forward(self, x):
        x32 = x.float()
        return (self.weight * x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + self.epsilon)).to(x.dtype)


def rotated(x, base):
    """x: [samples, tokens, heads, channels]. Channels 2i and 2i + 1 of the first half of a head are one complex number,
    and are turned by the token's position times the i-th frequency."""
    channels = x.shape[-1] // 2
    frequencies = base ** (-torch.arange(0, channels, 2, dtype=torch.float32) / channels)
    angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float32), frequencies)
    turns = torch.polar(torch.ones_like(angles), angles)[None, :, None]
    pairs = torch.view_as_complex(x[..., :channels].float().unflatten(-1, (-1, 2)))
    turned = torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)
    return torch.cat([turned, x[..., channels:]], -1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.size = config.num_attention_heads, config.kv_channels
        self.shared = config.multi_query_group_num if config.multi_query_attention else None
        self.base = 10000.0 * config.rope_ratio
        rows = self.size * (self.heads + 2 * (self.shared or self.heads))
        self.query_key_value = nn.Linear(config.hidden_size, rows, bias=config.add_bias_linear or config.add_qkv_bias)
        self.dense = nn.Linear(self.size * self.heads, config.hidden_size, bias=config.add_bias_linear)

    def split(self, rows):
        """All queries, all keys, all values; but without shared keys, the three of one head after those of another."""
        if self.shared is None:
            return rows.unflatten(-1, (self.heads, 3, self.size)).unbind(-2)
        heads = rows.unflatten(-1, (-1, self.size))
        return heads.split([self.heads, self.shared, self.shared], -2)

    def forward(self, x):
        query, key, value = self.split(self.query_key_value(x))
        query, key = rotated(query, self.base), rotated(key, self.base)
        copies = self.heads // key.shape[-2]
        key, value = key.repeat_interleave(copies, -2), value.repeat_interleave(copies, -2)
        scores = torch.einsum("sqhc,skhc->shqk", query, key) / self.size ** 0.5
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        shares = scores.masked_fill(later, -torch.inf).float().softmax(-1).to(x.dtype)
        return self.dense(torch.einsum("shqk,skhc->sqhc", shares, value).flatten(2))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=config.add_bias_linear)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=config.add_bias_linear)

    def forward(self, x):
        gate, up = self.dense_h_to_4h(x).chunk(2, -1)
        return self.dense_4h_to_h(functional.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm, self.self_attention = RMSNorm(config), Attention(config)
        self.post_attention_layernorm, self.mlp = RMSNorm(config), MLP(config)
        self.keeps_norms = config.apply_residual_connection_post_layernorm

    def forward(self, x):
        normed = self.input_layernorm(x)
        x = (normed if self.keeps_norms else x) + self.self_attention(normed)
        normed = self.post_attention_layernorm(x)
        return (normed if self.keeps_norms else x) + self.mlp(normed)


class ChatGLMForConditionalGeneration(PreTrainedModel):
    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    _supports_sdpa = True  # a name alone: the attention above is all there is

    def __init__(self, config):
        super().__init__(config)
        self.transformer = nn.Module()
        self.transformer.embedding = nn.Module()
        self.transformer.embedding.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)
        self.transformer.encoder = nn.Module()
        self.transformer.encoder.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        if config.post_layer_norm:
            self.transformer.encoder.final_layernorm = RMSNorm(config)
        self.transformer.output_layer = nn.Linear(config.hidden_size, config.padded_vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids):
        x = self.transformer.embedding.word_embeddings(input_ids)
        for block in self.transformer.encoder.layers:
            x = block(x)
        if self.config.post_layer_norm:
            x = self.transformer.encoder.final_layernorm(x)
        return CausalLMOutput(logits=self.transformer.output_layer(x))


AutoConfig.register("chatglm", ChatGLMConfig)
AutoModelForCausalLM.register(ChatGLMConfig, ChatGLMForConditionalGeneration)
