// The operators as PyTorch sees them: argument tensors to kernel arguments. Built once for each device, into a library of
// its own (SARIGAN_LIBRARY: sarigan_cpu, sarigan_cuda; SARIGAN_KEY: its dispatch key). No Python header is needed, so one
// build serves every Python version. Arguments were checked by the Python functions; what is checked here guards memory.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <tuple>

#include "launch.h"

namespace sarigan {
namespace {

using at::Tensor;

Type type_of(const Tensor& x) {
  switch (x.scalar_type()) {
    case at::kHalf: return Type::float16;
    case at::kBFloat16: return Type::bfloat16;
    case at::kFloat: return Type::float32;
    case at::kDouble: return Type::float64;
    default: TORCH_CHECK(false, "unsupported type ", x.scalar_type());
  }
}

int device_index(const Tensor& x) { return x.device().index(); }

at::ScalarType accumulator_of(const Tensor& x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

bool is_channels_last(at::MemoryFormat format) {
  return format == at::MemoryFormat::ChannelsLast || format == at::MemoryFormat::ChannelsLast3d;
}

// x [N,C,...] in memory format `format`, and its bias of length C, which may be replaced.
BiasActArgs bias_act_args(const Tensor& x, std::optional<Tensor>& bias, at::MemoryFormat format, const Tensor& out,
                          double slope, double gain, double clamp) {
  TORCH_CHECK(x.dim() >= 2, "x must have at least two dimensions");
  if (bias) {
    TORCH_CHECK(bias->dim() == 1 && bias->size(0) == x.size(1) && bias->device() == x.device(), "bias does not fit x");
    bias = bias->to(accumulator_of(x)).contiguous();
  }
  int64_t channels = x.size(1), numel = x.numel();
  bool inner_channels = is_channels_last(format) || x.dim() == 2;
  int64_t inner = inner_channels ? 1 : numel / (x.size(0) * channels);
  if (inner == 1 && channels < launch::min_channels) {
    // Few channels side by side make short runs: several pixels count as one of more channels, with the bias repeated.
    int64_t pixels = (launch::min_channels / channels + 7) / 8 * 8;  // whole vectors
    channels *= pixels;
    if (bias) bias = bias->repeat(pixels);
  }
  return BiasActArgs{x.const_data_ptr(), bias ? bias->const_data_ptr() : nullptr, nullptr, out.mutable_data_ptr(),
                     nullptr, numel, channels, inner, launch::part_elements, slope, gain, clamp};
}

Tensor allocate(at::IntArrayRef sizes, at::MemoryFormat format, const Tensor& like) {
  Tensor result = at::empty(sizes, like.options().memory_format(format));
  if (!result.is_meta()) launch::prepare_memory(result.mutable_data_ptr(), result.nbytes());
  return result;
}

Tensor bias_act(const Tensor& input, std::optional<Tensor> bias, double slope, double gain, double clamp) {
  const auto format = input.suggest_memory_format();
  const Tensor x = input.contiguous(format);
  Tensor y = allocate(x.sizes(), format, x);
  if (x.is_meta() || x.numel() == 0) return y;
  launch::bias_act(device_index(x), type_of(x), bias_act_args(x, bias, format, y, slope, gain, clamp));
  return y;
}

// (t + bias) * d y / d x, where y is the output of bias_act (None: a linear one without clamp), and its sum over each
// channel in the accumulation type ([0] if not wanted).
std::tuple<Tensor, Tensor> bias_act_derivative(const Tensor& input, std::optional<Tensor> bias,
                                               const std::optional<Tensor>& output, double slope, double gain,
                                               double clamp, bool sum) {
  const auto format = (output ? *output : input).suggest_memory_format();
  const Tensor t = input.contiguous(format);
  const Tensor y = output ? output->contiguous(format) : Tensor();
  if (output)
    TORCH_CHECK(y.sizes() == t.sizes() && y.scalar_type() == t.scalar_type() && y.device() == t.device(),
                "the gradient does not fit the output");
  const auto options = t.options().dtype(accumulator_of(t));
  Tensor out = allocate(t.sizes(), format, t);
  if (t.is_meta() || t.numel() == 0) return {out, at::zeros({sum ? t.size(1) : 0}, options)};

  BiasActArgs args = bias_act_args(t, bias, format, out, slope, gain, clamp);
  args.y = output ? y.const_data_ptr() : nullptr;
  if (!sum) {
    launch::bias_act_derivative(device_index(t), type_of(t), args);
    return {out, at::empty({0}, options)};
  }
  const Parts parts = parts_of(args);
  Tensor partial = parts.per_plane ? at::empty({t.size(0), t.size(1), parts.per_plane}, options)
                                   : at::empty({parts.count * (args.channels / t.size(1)), t.size(1), 1}, options);
  args.partial_sums = partial.mutable_data_ptr();
  launch::bias_act_derivative(device_index(t), type_of(t), args);
  return {out, partial.sum(at::IntArrayRef{0, 2})};
}

// up, down, offset, size: (vertical, horizontal); size is that of the output, offset as in core.h.
Tensor upfirdn2d(const Tensor& input, const Tensor& taps, at::IntArrayRef up, at::IntArrayRef down,
                 at::IntArrayRef offset, at::IntArrayRef size, bool flip, double gain) {
  TORCH_CHECK(input.dim() == 4 && (taps.dim() == 1 || taps.dim() == 2) && taps.numel() > 0, "wrong rank");
  TORCH_CHECK(up[0] > 0 && up[1] > 0 && down[0] > 0 && down[1] > 0 && size[0] >= 0 && size[1] >= 0, "wrong factor");
  const auto format = input.suggest_memory_format();
  const Tensor x = input.contiguous(format);
  Tensor y = allocate({x.size(0), x.size(1), size[0], size[1]}, format, x);
  if (x.is_meta() || y.numel() == 0) return y;
  if (x.numel() == 0) return y.zero_();

  const Tensor filter = taps.to(x.options().dtype(accumulator_of(x))).contiguous();
  const bool channels_last = is_channels_last(format);
  UpfirdnArgs args{x.const_data_ptr(), filter.const_data_ptr(), y.mutable_data_ptr(),
                   channels_last ? x.size(0) : x.size(0) * x.size(1), channels_last ? x.size(1) : 1,
                   Axis{x.size(2), size[0], offset[0], filter.size(0), up[0], down[0]},
                   Axis{x.size(3), size[1], offset[1], filter.size(-1), up[1], down[1]},
                   filter.dim() == 1, flip, gain};
  launch::upfirdn2d(device_index(x), type_of(x), args);
  return y;
}

}  // namespace

TORCH_LIBRARY(SARIGAN_LIBRARY, m) {
  m.def("bias_act(Tensor x, Tensor? bias, float slope, float gain, float clamp) -> Tensor");
  m.def("bias_act_derivative(Tensor t, Tensor? bias, Tensor? y, float slope, float gain, float clamp, bool sum) "
        "-> (Tensor, Tensor)");
  m.def("upfirdn2d(Tensor x, Tensor filter, int[2] up, int[2] down, int[2] offset, int[2] size, bool flip, float gain) "
        "-> Tensor");
}

TORCH_LIBRARY_IMPL(SARIGAN_LIBRARY, SARIGAN_KEY, m) {
  m.impl("bias_act", bias_act);
  m.impl("bias_act_derivative", bias_act_derivative);
  m.impl("upfirdn2d", upfirdn2d);
}

// Shapes and types without data (FakeTensor, meta).
TORCH_LIBRARY_IMPL(SARIGAN_LIBRARY, Meta, m) {
  m.impl("bias_act", bias_act);
  m.impl("bias_act_derivative", bias_act_derivative);
  m.impl("upfirdn2d", upfirdn2d);
}

}  // namespace sarigan
