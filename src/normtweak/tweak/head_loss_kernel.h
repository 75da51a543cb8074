// The CUDA kernel of the loss between two models' logits: each logit is read twice and the gradient written once, where
// a chain of ATen operations moves the logits about ten times.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::tweak {

// Whether the kernel takes these logits of teacher and student, f32 [tokens, vocabulary], and writes gradients of a
// type.
bool has_loss_kernel(const at::Tensor& teacher, const at::Tensor& student, at::ScalarType type);

// divergence: f32 [tokens], which is written: KL(teacher ‖ student). gradient: [tokens, vocabulary], p_s - p_t;
// undefined if not wanted.
void loss_on_gpu(const at::Tensor& teacher, const at::Tensor& student, const at::Tensor& divergence,
                 const at::Tensor& gradient);

}  // namespace normtweak::tweak
