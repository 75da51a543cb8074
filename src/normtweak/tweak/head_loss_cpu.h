// The loss between two models' logits on a CPU, a token at a time: its logits stay in the cache while they are read
// three times, where a chain of ATen operations moves all of them through memory about ten times.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::tweak {

// Whether the loop takes these logits of teacher and student, f32 or bf16 [tokens, vocabulary], and writes gradients of
// a type.
bool has_loss_loop(const at::Tensor& teacher, const at::Tensor& student, at::ScalarType type);

// divergence: f32 [tokens], which is written: KL(teacher ‖ student). gradient: [tokens, vocabulary], p_s - p_t;
// undefined if not wanted. Both are contiguous.
void loss_on_cpu(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& divergence,
                 const at::Tensor& gradient);

}  // namespace normtweak::tweak
